//! Tables for people: names on the left, figures on the right.

use comfy_table::{CellAlignment, Table, presets};

/// A table with this head and no rows yet.
pub(super) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(head);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
