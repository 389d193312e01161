//! Columns that line up, with colours or without, on a screen that may be too narrow for them.

/// Room between two columns, and before the lines of a paragraph.
const GAP: usize = 2;

/// Lines of columns, as wide as needed; two spaces between them.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|cell| visible(cell)).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width + GAP - visible(cell)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The same under heads, or, where a line would be longer than `width`, a paragraph for each row: its first cell, and below it every other cell after
/// the head of its column. The first head stands before them all.
pub fn fit(heads: &[String], rows: &[Vec<String>], width: Option<usize>) -> String {
    let all: Vec<Vec<String>> = std::iter::once(heads.to_vec()).chain(rows.iter().cloned()).collect();
    let columns = table(&all);
    match width {
        Some(width) if columns.lines().any(|line| visible(line) > width) => {
            let head = heads.first().map_or("", String::as_str);
            let paragraphs: String = rows.iter().map(|row| paragraph(heads, row, width)).collect();
            format!("{head}\n{paragraphs}")
        }
        _ => columns,
    }
}

fn paragraph(heads: &[String], row: &[String], width: usize) -> String {
    let mut lines: Vec<String> = row.iter().take(1).cloned().collect();
    let mut line = String::new();
    for (head, cell) in heads.iter().zip(row).skip(1) {
        let item = format!("{head} {cell}");
        if !line.is_empty() && visible(&line) + GAP + visible(&item) > width {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(&" ".repeat(GAP));
        line.push_str(&item);
    }
    lines.push(line);
    lines.iter().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

/// Characters that take room: not those of colours.
fn visible(cell: &str) -> usize {
    let (mut count, mut escape) = (0, false);
    for c in cell.chars() {
        match (escape, c) {
            (false, '\x1b') => escape = true,
            (true, 'm') => escape = false,
            (false, _) => count += 1,
            (true, _) => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|&cell| cell.to_owned()).collect()
    }

    #[test]
    fn columns_line_up_with_and_without_colours() {
        let rows = [row(&["a", "bb"]), row(&["\x1b[31mccc\x1b[0m", "d"])];
        assert_eq!(table(&rows), "a    bb\n\x1b[31mccc\x1b[0m  d\n");
    }

    #[test]
    fn what_is_too_wide_becomes_paragraphs_and_loses_nothing() {
        let (heads, rows) =
            (row(&["NAME", "A", "B", "C"]), [row(&["one", "1", "2", "3"]), row(&["two", "4", "5", "6"])]);
        assert_eq!(fit(&heads, &rows, None), "NAME  A  B  C\none   1  2  3\ntwo   4  5  6\n");
        assert_eq!(fit(&heads, &rows, Some(13)), fit(&heads, &rows, None));
        assert_eq!(fit(&heads, &rows, Some(12)), "NAME\none\n  A 1  B 2\n  C 3\ntwo\n  A 4  B 5\n  C 6\n");
        assert_eq!(fit(&heads, &rows[..1], Some(1)), "NAME\none\n  A 1\n  B 2\n  C 3\n");
    }
}
