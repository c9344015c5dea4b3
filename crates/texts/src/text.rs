//! A text of the catalogue with its arguments.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

/// A text of the catalogue with its arguments, in no language yet: [`Language::say`] renders it.
///
/// [`text!`] makes one.
///
/// [`Language::say`]: crate::Language::say
/// [`text!`]: crate::text!
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub(crate) id: &'static str,
    pub(crate) arguments: Box<[(&'static str, TextValue)]>,
}

impl Text {
    #[doc(hidden)]
    pub(crate) fn new(id: &'static str, arguments: Vec<(&'static str, TextValue)>) -> Text {
        Text { id, arguments: arguments.into() }
    }
}

/// An argument of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum TextValue {
    /// Shown as it is: a name, a path, an address, what another program reports.
    Plain(Cow<'static, str>),
    /// Chooses a plural form, if the text has several.
    Number(TextNumber),
    /// A size, as people read it.
    Size(Size),
    /// A point in time, as people read it.
    Time(Time),
    /// Another text, in the same language.
    Nested(Box<Text>),
}

/// A number that chooses a plural form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextNumber(pub u64);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Seconds since 1970; shown in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub i64);

impl TextValue {
    /// What `shown` displays.
    pub fn display(shown: impl Display) -> TextValue {
        TextValue::Plain(Cow::Owned(shown.to_string()))
    }
}

/// Conversions into a [`TextValue`] by way of one of its variants.
macro_rules! from {
    ($($from:ty => |$value:ident| $variant:ident($into:expr);)*) => {$(
        impl From<$from> for TextValue {
            fn from($value: $from) -> TextValue {
                TextValue::$variant($into)
            }
        }
    )*};
}

from! {
    &str => |text| Plain(Cow::Owned(text.to_owned()));
    String => |text| Plain(Cow::Owned(text));
    &String => |text| Plain(Cow::Owned(text.clone()));
    Box<str> => |text| Plain(Cow::Owned(text.into()));
    Cow<'static, str> => |text| Plain(text);
    IpAddr => |address| Plain(Cow::Owned(address.to_string()));
    SocketAddr => |address| Plain(Cow::Owned(address.to_string()));
    TextNumber => |number| Number(number);
    Size => |size| Size(size);
    Time => |time| Time(time);
    Text => |text| Nested(Box::new(text));
}

macro_rules! from_numbers {
    ($($number:ty)*) => {$(
        impl From<$number> for TextNumber {
            fn from(number: $number) -> TextNumber {
                TextNumber(number.into())
            }
        }
        impl From<$number> for TextValue {
            fn from(number: $number) -> TextValue {
                TextValue::Number(number.into())
            }
        }
    )*};
}

from_numbers! { u8 u16 u32 u64 }

impl From<usize> for TextNumber {
    fn from(number: usize) -> TextNumber {
        TextNumber(number as u64)
    }
}

impl From<usize> for TextValue {
    fn from(number: usize) -> TextValue {
        TextValue::Number(number.into())
    }
}

/// A text of the catalogue: its id, then its arguments by name.
///
/// `name = value` takes strings, numbers, [`Size`], [`Time`] and other texts; `name = %value` takes
/// whatever can be displayed, such as an error; `name` and `%name` stand for `name = name` and
/// `name = %name`.
#[macro_export]
macro_rules! text {
    ($id:ident $(, $($arguments:tt)*)?) => {
        $crate::text_fields!($id { } $($($arguments)*)?)
    };
}

/// Reads the arguments of [`text!`] one after the other into the fields of the text's struct.
#[doc(hidden)]
#[macro_export]
macro_rules! text_fields {
    ($id:ident { $($done:tt)* }) => {
        $crate::Text::from($crate::ids::$id { $($done)* })
    };
    ($id:ident { $($done:tt)* } % $name:ident $(, $($rest:tt)*)?) => {
        $crate::text_fields!($id { $($done)* $name: $crate::TextValue::display(&$name), } $($($rest)*)?)
    };
    ($id:ident { $($done:tt)* } $name:ident = % $value:expr $(, $($rest:tt)*)?) => {
        $crate::text_fields!($id { $($done)* $name: $crate::TextValue::display(&$value), } $($($rest)*)?)
    };
    ($id:ident { $($done:tt)* } $name:ident = $value:expr $(, $($rest:tt)*)?) => {
        $crate::text_fields!($id { $($done)* $name: ::core::convert::Into::into($value), } $($($rest)*)?)
    };
    ($id:ident { $($done:tt)* } $name:ident $(, $($rest:tt)*)?) => {
        $crate::text_fields!($id { $($done)* $name: ::core::convert::Into::into($name), } $($($rest)*)?)
    };
}
