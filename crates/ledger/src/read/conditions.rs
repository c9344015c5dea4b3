//! The WHERE clause of a query, put together from constants.

use crate::db::connection::Arg;
use crate::db::statement::Statement;

/// Conditions and their arguments.
#[derive(Default)]
pub(super) struct Conditions {
    conditions: Vec<String>,
    args: Vec<Arg>,
}

impl Conditions {
    /// Adds a condition in which `?` is the argument.
    pub(super) fn and(&mut self, condition: &'static str, arg: impl Into<Arg>) {
        self.args.push(arg.into());
        self.conditions.push(condition.replace('?', &format!("${}", self.args.len())));
    }

    /// Adds a condition without an argument. It is made of constants.
    pub(super) fn and_constant(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    /// The statement `select`, these conditions, and `tail`; and its arguments.
    pub(super) fn statement(self, select: &'static str, tail: &str) -> (Statement, Vec<Arg>) {
        let conditions = self.conditions.join(" AND ");
        let r#where = if conditions.is_empty() { "" } else { "WHERE " };
        (Statement::assembled(format!("{select} {}{conditions} {tail}", r#where)), self.args)
    }
}
