//! Labels, whose values are fixed when the program is compiled. So neither a client nor a name of a
//! file can make a label, and the number of series is known.

/// An enum of values that [`labels!`](crate::labels) defined.
pub trait Label: Copy {
    /// Its name and values.
    const DEFINITION: LabelDefinition;

    /// The position of a value among all.
    fn index(self) -> usize;
}

/// A label's name and values.
#[derive(Clone, Copy, Debug)]
pub struct LabelDefinition {
    /// Its name.
    pub name: &'static str,
    /// All values.
    pub values: &'static [&'static str],
}

/// One label or several: what tells the series of a metric apart.
pub trait LabelSet: Copy {
    /// The labels.
    const LABELS: &'static [LabelDefinition];
    /// The number of series.
    const SERIES: usize;

    /// The position of a series among all.
    fn position(self) -> usize;
}

impl<L: Label> LabelSet for L {
    const LABELS: &'static [LabelDefinition] = &[L::DEFINITION];
    const SERIES: usize = L::DEFINITION.values.len();

    fn position(self) -> usize {
        self.index()
    }
}

impl<A: Label, B: Label> LabelSet for (A, B) {
    const LABELS: &'static [LabelDefinition] = &[A::DEFINITION, B::DEFINITION];
    const SERIES: usize = A::SERIES * B::SERIES;

    fn position(self) -> usize {
        self.0.index() * B::SERIES + self.1.index()
    }
}

/// The names and values of the series at `position`.
pub(crate) fn pairs(labels: &[LabelDefinition], mut position: usize) -> Vec<(&'static str, &'static str)> {
    let mut pairs: Vec<_> = labels
        .iter()
        .rev()
        .map(|label| {
            let at = position % label.values.len();
            position /= label.values.len();
            (label.name, label.values[at])
        })
        .collect();
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::labels! {
        enum Size: "size" {
            /// Small.
            Small = "small",
            /// Large.
            Large = "large",
        }
    }
    crate::labels! {
        enum Colour: "colour" {
            /// Red.
            Red = "red",
            /// Green.
            Green = "green",
            /// Blue.
            Blue = "blue",
        }
    }

    #[test]
    fn every_series_has_a_position_of_its_own() {
        let mut seen = Vec::new();
        for size in [Size::Small, Size::Large] {
            for colour in [Colour::Red, Colour::Green, Colour::Blue] {
                let position = (size, colour).position();
                let expected = [
                    ("size", Size::DEFINITION.values[size.index()]),
                    ("colour", Colour::DEFINITION.values[colour.index()]),
                ];
                assert_eq!(pairs(<(Size, Colour)>::LABELS, position), expected);
                seen.push(position);
            }
        }
        assert_eq!(seen, (0..<(Size, Colour)>::SERIES).collect::<Vec<_>>());
    }
}
