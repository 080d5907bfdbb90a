//! How the fields of a row are written: for serde, or fast as a line of JSON.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// What has fields.
pub(in crate::report) trait Row {
    /// Gives the fields in their order.
    fn fields<F: Fields>(&self, to: &mut F) -> Result<(), F::Error>;
}

/// Takes the fields of a row.
pub(in crate::report) trait Fields {
    /// Why one cannot be taken.
    type Error;
    /// Takes the next one. Names need no escapes in JSON.
    fn field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Self::Error>;
}

impl<M: SerializeMap> Fields for M {
    type Error = M::Error;

    fn field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), M::Error> {
        self.serialize_entry(name, value)
    }
}

/// A row as an object for serde.
pub(super) fn serialize<S: Serializer>(row: &impl Row, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    row.fields(&mut map)?;
    map.end()
}

/// Writes a row as a line of JSON, the same that `serde_json` makes of it, which
/// looks at each byte of each name, though.
pub(in crate::report) fn line(row: &impl Row, to: &mut Vec<u8>) -> serde_json::Result<()> {
    let begin = to.len();
    row.fields(&mut Line(to))?;
    // A comma stands before each field.
    if let Some(first) = to.get_mut(begin) {
        *first = b'{';
    }
    to.extend_from_slice(b"}\n");
    Ok(())
}

struct Line<'a>(&'a mut Vec<u8>);

impl Fields for Line<'_> {
    type Error = serde_json::Error;

    // So that names are constants where they are copied.
    #[inline(always)]
    fn field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> serde_json::Result<()> {
        let to = &mut *self.0;
        to.extend_from_slice(b",\"");
        to.extend_from_slice(name.as_bytes());
        to.extend_from_slice(b"\":");
        value.serialize(&mut serde_json::Serializer::new(to))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Conn, FindingRow, Http, sample};
    use super::*;
    use crate::report::Report;

    #[test]
    fn a_line_is_what_serde_makes_of_the_row() {
        fn same(row: &(impl Row + Serialize)) {
            let mut made = b"before".to_vec();
            line(row, &mut made).unwrap();
            let expected = format!("before{}\n", serde_json::to_string(row).unwrap());
            assert_eq!(String::from_utf8(made).unwrap(), expected);
        }
        let names = &Report::default();
        let connection = &sample::connection();
        same(&Conn { names, connection });
        let request = &sample::request(connection);
        same(&Http { names, request });
        let finding = &sample::finding(connection);
        same(&FindingRow { names, finding });
    }
}
