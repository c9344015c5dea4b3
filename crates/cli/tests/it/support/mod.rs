//! What the topics share: `outflow` as a process, its ledger, receivers of its webhooks; all else
//! is in `outflow-testkit`.

mod ledger;
mod receiver;
mod scripts;
mod server;
mod stores;
mod transport;

pub(crate) use ledger::{Ledger, id_of};
pub(crate) use outflow_testkit::http::{EventStream, HttpClient, Reply, SentEvent};
pub(crate) use outflow_testkit::peers::{
    BUCKET, Garage, Haproxy, Moto, Nginx, PebbleSite, Postgres, S3Access, Sshd,
};
pub(crate) use outflow_testkit::process::{
    Browser, ChildProgram, Network, Serving, assert_fails, feed, output, program,
};
pub(crate) use outflow_testkit::tls::{Authority, presented, replace};
pub(crate) use outflow_testkit::tunnel as legs;
pub(crate) use outflow_testkit::{FileTree, Files, PATIENCE, Random, assert_same, noise, until};
pub(crate) use receiver::{Answer, Receiver, SECRET, Told, once_each, reserve_port};
pub(crate) use scripts::{java, python};
pub(crate) use server::{Server, Setup, binary};
pub(crate) use stores::{Bucket, StoreAccess};
pub(crate) use transport::{Fetch, Transport};
