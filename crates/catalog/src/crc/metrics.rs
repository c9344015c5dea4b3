//! What is counted of CRC-32s.

use outflow_metrics::{CounterBy, labels, metrics};

labels! {
    /// Why a CRC-32 was computed.
    pub enum CrcReason: "reason" {
        /// A request needs it now.
        Request = "request",
        /// A later request may need it.
        Background = "background",
    }
}

metrics! {
    /// What a cache of CRC-32s computes.
    pub struct CrcMetrics {
        /// CRC-32s of files that were computed, or learned from their store.
        computed: CounterBy<CrcReason> = "outflow_crc32s_computed_total",
    }
}
