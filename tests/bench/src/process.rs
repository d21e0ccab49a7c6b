//! Processes of functions, with a processor or the part of one that Lambda gives for their memory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gatehouse_local::Error;
use rustix::thread::{CpuSet, Pid, sched_setaffinity};
use tokio::process::{Child, Command};

use crate::host::Host;
use tokio::time::Instant;

/// Memory in MB for which Lambda gives a whole processor. For less memory, it gives a proportional part.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>
pub(crate) const WHOLE_CPU_MB: u32 = 1769;
/// Period in which a throttled process gets its part of a processor, in µs.
const PERIOD_US: u32 = 20_000;
/// The processor of the bench and the engines.
const BENCH_CPU: usize = 0;
/// The processor of the functions.
const FUNCTION_CPU: usize = 1;

/// A program to start.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The executable and its arguments.
    pub(crate) command: Vec<String>,
    /// The working directory.
    pub(crate) folder: Option<PathBuf>,
    /// Environment variables in addition to those that Lambda sets.
    pub(crate) variables: Vec<(String, String)>,
}

/// A running function. It is killed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    /// When the process was started.
    pub(crate) started: Instant,
    child: Child,
    pid: i32,
    _throttle: Option<Throttle>,
}

/// Binds this process to the first processor.
pub(crate) fn bind_to_bench_cpu() {
    bind(None, BENCH_CPU);
}

fn bind(pid: Option<Pid>, cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    // Ignores errors, so that the bench also runs on machines with one processor or without permission.
    let _ = sched_setaffinity(pid, &set);
}

impl Process {
    /// Starts a program as Lambda does, with the part of a processor for `memory_mb`. Appends its output to `log`.
    ///
    /// # Errors
    /// Fails if the program does not start or cannot be throttled.
    pub(crate) fn start(program: &Program, host: &Host, memory_mb: u32, log: &Path) -> Result<Process, Error> {
        let (executable, arguments) = program.command.split_first().ok_or("no command")?;
        let throttle = (memory_mb < WHOLE_CPU_MB).then(|| Throttle::new(memory_mb)).transpose()?;
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(executable);
        command
            .args(arguments)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", host.address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb.to_string())
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("AWS_SESSION_TOKEN", "local")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "en_US.UTF-8")
            .env("TZ", ":UTC")
            .envs(program.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        if let Some(folder) = &program.folder {
            command.current_dir(folder);
        }
        let started = Instant::now();
        let child = command.spawn()?;
        let pid = i32::try_from(child.id().ok_or("the process has already ended")?)?;
        bind(Pid::from_raw(pid), FUNCTION_CPU);
        if let Some(throttle) = &throttle {
            throttle.add(pid)?;
        }
        Ok(Process { started, child, pid, _throttle: throttle })
    }

    /// The peak and the current resident memory, in MB.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub(crate) fn memory(&self) -> Result<(f64, f64), Error> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let kb = |name: &str| -> Option<f64> {
            status.lines().find_map(|line| line.strip_prefix(name))?.trim().trim_end_matches(" kB").parse().ok()
        };
        let (most, now) = kb("VmHWM:").zip(kb("VmRSS:")).ok_or("/proc does not have the memory of the process")?;
        Ok((most / 1024.0, now / 1024.0))
    }

    /// The processor time of all threads.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub(crate) fn cpu(&self) -> Result<Duration, Error> {
        let mut nanos = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // A thread may end while the others are read.
            let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            nanos += text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Kills the process and waits for its end.
    pub(crate) async fn stop(mut self) {
        // Ignores the error of a process that has already ended.
        let _ = self.child.kill().await;
    }
}

/// A control group with a part of a processor. Uses version 1 if the machine has it, otherwise version 2.
#[derive(Debug)]
struct Throttle {
    folder: PathBuf,
}

impl Throttle {
    fn new(memory_mb: u32) -> Result<Throttle, Error> {
        let quota = u64::from(PERIOD_US) * u64::from(memory_mb) / u64::from(WHOLE_CPU_MB);
        let name = format!("gatehouse-bench-{}-{memory_mb}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/cpu");
        let (folder, limits) = if first.is_dir() {
            let limits = vec![("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", quota.to_string())];
            (first.join(name), limits)
        } else {
            (Path::new("/sys/fs/cgroup").join(name), vec![("cpu.max", format!("{quota} {PERIOD_US}"))])
        };
        std::fs::create_dir_all(&folder)?;
        let throttle = Throttle { folder };
        for (name, limit) in limits {
            std::fs::write(throttle.folder.join(name), limit)?;
        }
        Ok(throttle)
    }

    fn add(&self, pid: i32) -> Result<(), Error> {
        Ok(std::fs::write(self.folder.join("cgroup.procs"), pid.to_string())?)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // A group can be removed only after its process has ended. A remaining empty group does no harm.
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// Checks that processes can be throttled on this machine.
///
/// # Errors
/// Fails with the system's error if they cannot.
pub(crate) fn can_throttle() -> Result<(), Error> {
    Throttle::new(128).map(drop)
}
