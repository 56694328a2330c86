//! Aligned columns.

use crate::output::Console;
use decube_backup_core::Result;
use decube_backup_core::display::display_line;
use unicode_width::UnicodeWidthStr;

/// Rows of text; numbers stand right, everything else left.
pub(crate) struct Table {
    header: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns by their titles; one that starts with `>` stands right.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self {
            header: columns.iter().map(|c| c.strip_prefix('>').unwrap_or(c)).collect(),
            right: columns.iter().map(|c| c.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with one text for each column, whoever it is from.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        // As wide as it is shown.
        self.rows.push(cells.iter().map(|cell| display_line(cell).to_string()).collect());
    }

    /// Whether no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes header and rows.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub(crate) fn print(&self, console: &Console) -> Result<()> {
        self.lines().iter().try_for_each(|line| console.line(line))
    }

    fn lines(&self) -> Vec<String> {
        let header: Vec<String> = self.header.iter().map(|title| (*title).to_owned()).collect();
        let mut widths: Vec<usize> = header.iter().map(|cell| cell.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        std::iter::once(&header).chain(&self.rows).map(|row| self.aligned(row, &widths)).collect()
    }

    fn aligned(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(widths).zip(&self.right) {
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            if !line.is_empty() {
                line.push_str("  ");
            }
            match right {
                true => line.extend([padding.as_str(), cell]),
                false => line.extend([cell, padding.as_str()]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let mut table = Table::new(&["Name", ">Size", "Tags"]);
        table.row(vec!["größe".into(), "10".into(), String::new()]);
        table.row(vec!["a".into(), "1000".into(), "x".into()]);
        assert_eq!(table.lines(), ["Name   Size  Tags", "größe    10", "a      1000  x"]);
    }

    #[test]
    fn cells_of_others_are_as_wide_as_they_are_shown() {
        let mut table = Table::new(&["Name", "Host"]);
        table.row(vec!["a\u{1b}[2J\r\n".into(), "\u{202e}x".into()]);
        table.row(vec!["b".into(), "y".into()]);
        let [title, odd, plain] = table.lines().try_into().expect("three lines");
        assert_eq!(odd, "a\\x1b[2J\\x0d\\x0a  \\xe2\\x80\\xaex");
        assert_eq!((title.find("Host"), plain.find('y')), (odd.find("\\xe2"), odd.find("\\xe2")));
    }
}
