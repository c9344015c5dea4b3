//! What counts as a download, and what does not.

use outflow_ledger::{Kind, Options, State};

use crate::common::{both, content, opening};

#[test]
fn a_delivery_of_everything_is_a_receipt() {
    both(|place| {
        let book = place.open(Options::default());
        let anna = opening(&content(1, 1000), "anna");
        book.deliver(&anna, 0..1000);
        book.settle(0);
        let download = book.download();
        assert_eq!((download.state, download.acked, download.generation), (State::Completed, 1000, 1));
        assert!(download.confirmed && download.weak && download.completed.is_some());
        assert_eq!(download.deliveries, 1);
        assert_eq!(book.kinds(), [Kind::Started, Kind::Completed]);
        book.close();
    });
}
