//! A provider of language models to try things with: prints its address and answers until it is ended.

#![allow(clippy::print_stdout)] // It is what this is for.

fn main() {
    let provider = selvage_rig::provider::Provider::start();
    println!("{}", provider.url());
    loop {
        std::thread::park();
    }
}
