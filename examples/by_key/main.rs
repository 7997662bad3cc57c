//! A stage of one's own: orders go to a queue for each shop. One shop's endpoint is down; the others' orders do not wait for it.
//!
//! ```sh
//! cargo run --example by_key
//! ```

mod by_key;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use by_key::ByKey;
use sinkworks::{Breaker, Failure, Queue, Shutdown, Sink, SinkExt, sink_fn};

struct Order {
    shop: &'static str,
    number: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let delivered: Arc<Mutex<BTreeMap<&str, Vec<u64>>>> = Arc::default();
    let noted = delivered.clone();
    let endpoint = move |shop: &&'static str| -> Queue<Arc<Order>> {
        let (shop, noted) = (*shop, noted.clone());
        let post = sink_fn(move |order: &Arc<Order>| {
            if shop == "closed for renovation" {
                return Err(Failure::transient("connection refused").into());
            }
            noted.lock().unwrap_or_else(PoisonError::into_inner).entry(shop).or_default().push(order.number);
            Ok(())
        });
        post.retrying(Breaker::new(3, Duration::from_secs(1))).queued()
    };
    let orders = ByKey::new(100, |order: &Arc<Order>| order.shop, endpoint);

    for number in 0..9 {
        let shop = ["books", "bicycles", "closed for renovation"][number % 3];
        orders.write(&Arc::new(Order { shop, number: number as u64 }))?;
    }
    let report = Sink::<Arc<Order>>::close(&orders, Shutdown::within(Duration::from_secs(1)))?;
    for (shop, numbers) in &*delivered.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("{shop}: {numbers:?}");
    }
    println!("{} queues, {} orders abandoned", report.components().count(), report.abandoned());
    Ok(())
}
