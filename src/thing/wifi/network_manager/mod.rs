//! The radio of a real plug, by NetworkManager: the Thing-AP and the home network (SecT STEP 1, 8).
//!
//! A task of its own talks to NetworkManager over the system bus and is told what to do by orders, of which
//! the last one counts; a report of an earlier one is thrown away. It waits for signals and asks for nothing
//! meanwhile. The passcode and the home network's password go to NetworkManager along with the order and
//! are kept there in memory alone (docs/adr/0013).

mod argument;
mod bus;
mod link;
mod order;
mod profile;
mod progress;
mod signals;
mod stream;
#[cfg(test)]
mod tests;
mod trouble;
mod value;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use self::order::{Order, Radio};
use super::WifiReport;
use crate::proto::operation::result::NetworkItem;
use crate::proto::passcode::Passcode;
use crate::proto::wifi::HomeNetwork;
use crate::thing::config::WifiConfig;

/// The radio that NetworkManager owns.
#[derive(Debug)]
pub struct NetworkManagerRadio {
    /// Each order has a number.
    orders: mpsc::UnboundedSender<(u64, Order)>,
    reports: mpsc::UnboundedReceiver<(u64, WifiReport)>,
    last: u64,
    seen: watch::Receiver<Vec<NetworkItem>>,
    /// Somebody has asked what there is to see.
    asked: watch::Sender<()>,
    task: AbortHandle,
}

impl NetworkManagerRadio {
    /// Begins to look for NetworkManager, inside a tokio runtime. That it is not there is no reason not to
    /// start: a plug whose radio is broken still has its button.
    #[must_use]
    pub fn open(config: &WifiConfig) -> Self {
        let (orders, to_do) = mpsc::unbounded_channel();
        let (done, reports) = mpsc::unbounded_channel();
        let (scanned, seen) = watch::channel(Vec::new());
        let (asked, look) = watch::channel(());
        let radio = Radio::new(config, done, scanned, look);
        let task = tokio::spawn(radio.obey(to_do)).abort_handle();
        Self { orders, reports, last: 0, seen, asked, task }
    }

    /// See [`super::Wifi::open_access_point`].
    pub fn open_access_point(&mut self, ssid: &str, passphrase: &Passcode) {
        self.order(Order::AccessPoint { ssid: ssid.to_owned(), passphrase: passphrase.clone() });
    }

    /// See [`super::Wifi::close`].
    pub fn close(&mut self) {
        self.order(Order::Rest);
    }

    /// See [`super::Wifi::join`].
    pub fn join(&mut self, network: &HomeNetwork) {
        self.order(Order::Join(network.clone()));
    }

    fn order(&mut self, order: Order) {
        self.last += 1;
        // It is there for as long as this is.
        let _ = self.orders.send((self.last, order));
    }

    /// What the last scan found; where the radio is in a network, the next one is begun with this.
    pub fn seen(&self) -> Vec<NetworkItem> {
        self.asked.send_replace(());
        self.seen.borrow().clone()
    }

    /// See [`super::Wifi::next`].
    pub async fn next(&mut self) -> WifiReport {
        loop {
            match self.reports.recv().await {
                Some((order, report)) if order == self.last => return report,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for NetworkManagerRadio {
    fn drop(&mut self) {
        self.task.abort();
    }
}
