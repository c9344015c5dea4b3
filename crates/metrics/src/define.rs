//! The macros that define metrics and labels.

/// Defines a set of metrics: a struct with a field for each, `NAME: TYPE = "name_in_the_scrape"`.
///
/// The doc comment of a field is the help text. A counter's name ends with `_total`; a name that
/// ends with `_bytes` or `_seconds` (before `_total`) states the unit. A name that breaks these
/// rules does not compile.
#[macro_export]
macro_rules! metrics {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $set:ident {
            $( $(#[doc = $help:literal])+ $field:ident: $metric:ty = $name:literal, )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Default)]
        $visibility struct $set {
            $( $(#[doc = $help])+ pub $field: $metric, )+
        }

        impl $crate::MetricSet for $set {
            const DEFINITIONS: &'static [$crate::MetricDefinition] = &[
                $( $crate::MetricDefinition::of::<$metric>($name, concat!($($help),+)), )+
            ];

            fn encode(&self, encoder: &mut $crate::MetricEncoder<'_>) -> ::std::fmt::Result {
                $( encoder.encode($name, concat!($($help),+), &self.$field)?; )+
                Ok(())
            }
        }
    };
}

/// Defines a label: an enum of its values, `Variant = "value"`, behind the label's name.
#[macro_export]
macro_rules! labels {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $label:ident: $name:literal {
            $( $(#[doc = $doc:literal])+ $variant:ident = $value:expr, )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $label {
            $( $(#[doc = $doc])+ $variant, )+
        }

        impl $crate::Label for $label {
            const DEFINITION: $crate::LabelDefinition =
                $crate::LabelDefinition { name: $name, values: &[$($value),+] };

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
