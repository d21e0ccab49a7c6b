//! Prints the JSON Schema of the rules file.

fn main() {
    println!("{:#}", gatehouse_replies::schema::schema());
}
