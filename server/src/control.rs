//! What users ask the engine to do, from the page or over HTTP. The queue is bounded; beyond, the next one waits.

use dashboard_core::alert::AlertSubject;
use dashboard_core::settings::Settings;
use tokio::sync::{mpsc, oneshot};

use crate::hub::Stopped;

/// Orders that wait for the engine.
const QUEUE: usize = 16;

/// What is asked for.
#[derive(Debug)]
pub enum Order {
    /// Deliver nothing for so many milliseconds; 0 delivers again.
    Snooze(i64),
    /// The user knows of the alert about this.
    Acknowledge(AlertSubject),
    /// These hold from now on.
    Settings(Box<Settings>),
}

/// An order, and where its answer goes: whether there was anything to do it to.
pub type ControlRequest = (Order, oneshot::Sender<bool>);

/// Gives orders to the engine. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Control(mpsc::Sender<ControlRequest>);

impl Control {
    /// The asking side, and the orders which the engine is to carry out.
    pub fn new() -> (Self, mpsc::Receiver<ControlRequest>) {
        let (orders, requests) = mpsc::channel(QUEUE);
        (Self(orders), requests)
    }

    /// Waits until the order is carried out; whether there was anything to do it to.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub async fn order(&self, order: Order) -> Result<bool, Stopped> {
        let (answer, done) = oneshot::channel();
        self.0.send((order, answer)).await.map_err(|_| Stopped)?;
        done.await.map_err(|_| Stopped)
    }
}
