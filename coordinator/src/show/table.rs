//! Tables: columns as wide as what stands in them. Where that is wider than the terminal, the columns that matter least
//! are left out, then the widest is cut.

use super::style::{Style, Tone, cut, pad, width};

/// A column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// What stands above it.
    pub(crate) title: &'static str,
    /// How much it matters; the lowest is left out first, 255 never.
    pub(crate) rank: u8,
    /// Whether it is flush right.
    pub(crate) right: bool,
}

impl Column {
    /// One that is never left out.
    pub(crate) const fn always(title: &'static str) -> Self {
        Self { title, rank: u8::MAX, right: false }
    }

    /// One that is left out where there is no room, those of low rank first.
    pub(crate) const fn rank(title: &'static str, rank: u8) -> Self {
        Self { title, rank, right: false }
    }

    /// The same, flush right.
    pub(crate) const fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

/// What stands in one place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// Text that is set off.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone: Some(tone) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: None }
    }
}

/// Between columns.
const GAP: usize = 2;

/// The narrowest that the widest column is cut to.
const NARROWEST: usize = 8;

/// The lines of a table, indented by two; `room` is the width of the terminal, where there is one.
pub(crate) fn lines(columns: &[Column], rows: &[Vec<Cell>], room: Option<usize>, style: Style) -> Vec<String> {
    let measure = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| width(&cell.text)).max();
        cells.filter(|widest| *widest > 0)
    };
    let mut kept: Vec<(usize, Column, usize)> = columns
        .iter()
        .enumerate()
        .filter_map(|(index, column)| Some((index, *column, measure(index)?.max(width(column.title)))))
        .collect();
    let total = |kept: &[(usize, Column, usize)]| kept.iter().map(|(_, _, width)| width + GAP).sum::<usize>();
    if let Some(room) = room.map(|room| room.saturating_sub(1)) {
        while total(&kept) > room {
            let least = kept.iter().enumerate().min_by_key(|(_, (_, column, _))| column.rank);
            match least {
                Some((position, (_, column, _))) if column.rank < u8::MAX => drop(kept.remove(position)),
                _ => break,
            }
        }
        let excess = total(&kept).saturating_sub(room);
        if let Some((_, _, widest)) = kept.iter_mut().max_by_key(|(_, _, width)| *width) {
            *widest = widest.saturating_sub(excess).max(NARROWEST.min(*widest));
        }
    }
    let line = |cells: &dyn Fn(usize, Column) -> Cell| {
        let mut line = String::new();
        for (position, (index, column, columns)) in kept.iter().enumerate() {
            let cell = cells(*index, *column);
            let text = cut(&cell.text, *columns, style);
            let gap = " ".repeat(columns.saturating_sub(width(&text)));
            let text = cell.tone.map_or_else(|| text.clone(), |tone| style.paint(tone, &text));
            line.push_str(&pad("", GAP));
            let last = position + 1 == kept.len();
            match (column.right, last) {
                (true, _) => line.push_str(&format!("{gap}{text}")),
                (false, true) => line.push_str(&text),
                (false, false) => line.push_str(&format!("{text}{gap}")),
            }
        }
        line.truncate(line.trim_end().len());
        line
    };
    let titled = columns.iter().any(|column| !column.title.is_empty());
    let heading = titled.then(|| line(&|_, column| Cell::toned(column.title, Tone::Dim)));
    let body = rows.iter().map(|row| line(&|index, _| row.get(index).cloned().unwrap_or_default()));
    heading.into_iter().chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::always("NODE"), Column::rank("NOTE", 1), Column::always("TIME").right()];

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec!["root-pve".into(), "something long".into(), "0.91 s".into()],
            vec!["edge".into(), "".into(), "12.3 s".into()],
        ]
    }

    #[test]
    fn columns_line_up_and_the_least_important_go_first() {
        let wide = lines(&COLUMNS, &rows(), None, Style::default());
        assert_eq!(
            wide,
            [
                "  NODE      NOTE              TIME",
                "  root-pve  something long  0.91 s",
                "  edge                      12.3 s"
            ]
        );
        let narrow = lines(&COLUMNS, &rows(), Some(20), Style::default());
        assert_eq!(narrow, ["  NODE        TIME", "  root-pve  0.91 s", "  edge      12.3 s"]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for room in 22..60 {
            for line in lines(&COLUMNS, &rows(), Some(room), Style::default()) {
                assert!(width(&line) < room, "{room}: {line}");
            }
        }
    }

    #[test]
    fn a_column_with_nothing_in_it_is_not_shown() {
        let rows = [vec!["edge".into(), "".into(), "1".into()]];
        assert_eq!(lines(&COLUMNS, &rows, None, Style::default()), ["  NODE  TIME", "  edge     1"]);
    }
}
