//! Tests the session-lifecycle binary with a local Lambda Runtime API.

use gatehouse_agntix::Agntix;
use gatehouse_local::runtime_api::Invoked;
use gatehouse_local::{Delivery, Options, Testbed};
use gatehouse_payload::Subject;
use gatehouse_runtime::Clock;
use gatehouse_timeline::{State, fold};

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_a_session_fold_into_one_session() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host =
        stack.host(env!("CARGO_BIN_EXE_under-test-session-lifecycle"), gatehouse_receiver::TIMEOUT, &[]).await.unwrap();
    for (message_id, body) in
        [("msg_2", gatehouse_agntix::samples::SESSION_ENDED), ("msg_1", gatehouse_agntix::samples::SESSION_CREATED)]
    {
        let delivery = Delivery::of(&Agntix, message_id, body, Clock::System.now());
        let Invoked::Answered(answer) = host.invoke(&delivery.to_lambda_event()).await.unwrap() else {
            panic!("failed")
        };
        assert_eq!(answer["headers"]["gatehouse-outcome"], "recorded");
    }
    let subject = Subject::new("agntix", "session", "7d1c1f6e-57d8-4b62-9d0e-0a5a0c1be9f3");
    let records = stack.store().whole_timeline(&subject, Clock::System.now()).await.unwrap().records;
    let session = fold(&records);
    assert_eq!((session.state, session.events), (State::Closed, 2));
}
