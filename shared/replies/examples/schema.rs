//! Prints the rules file's JSON Schema.

fn main() {
    println!("{:#}", gatehouse_replies::schema::schema());
}
