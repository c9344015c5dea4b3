//! Conditions of a query.

use crate::db::sql::Arg;

/// Conditions and their arguments.
#[derive(Default)]
pub(super) struct Where {
    pub(super) conditions: Vec<String>,
    pub(super) args: Vec<Arg>,
}

impl Where {
    /// Adds a condition in which `?` is the argument.
    pub(super) fn and(&mut self, condition: &'static str, arg: impl Into<Arg>) {
        self.args.push(arg.into());
        self.conditions.push(condition.replace('?', &format!("${}", self.args.len())));
    }

    pub(super) fn text(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.conditions.join(" AND "))
        }
    }
}
