//! Section 5: rows.

use ghostline_wire::*;
use proptest::prelude::*;

use crate::strategies::schema_and_rows;
use crate::{config, round_trip};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn rows_come_back_bit_for_bit((schema, base, row) in schema_and_rows()) {
        let layout = RowLayout::new(&schema);
        prop_assert_eq!(layout.lanes(), row.len());
        for base in [None, Some(&base[..])] {
            let read = round_trip(
                |out| encode_row(&layout, &row, base, out),
                |input| {
                    let mut read = vec![0xDEAD_BEEF; row.len()];
                    decode_row(&layout, base, &mut read, input).map(|()| read)
                },
            )?;
            prop_assert_eq!(&read, &row);
        }
    }

    #[test]
    fn a_row_costs_what_the_document_says((schema, base, row) in schema_and_rows()) {
        let mut bits = 0;
        let mut lane = 0;
        for component in &schema {
            let end = lane + component.lanes();
            bits += usize::from(schema.len() > 1);
            if schema.len() > 1 && row[lane..end] == base[lane..end] {
                lane = end;
                continue;
            }
            for field in &component.fields {
                let lanes = lane..lane + field.kind.lanes();
                lane = lanes.end;
                bits += usize::from(component.fields.len() > 1);
                if component.fields.len() > 1 && row[lanes.clone()] == base[lanes.clone()] {
                    continue;
                }
                for i in lanes {
                    let difference = row[i].wrapping_sub(base[i]).cast_signed();
                    bits += match field.kind {
                        FieldKind::Bool => 1,
                        kind if kind.is_float() && field.quantization == 0 => 32,
                        _ => packed_bits(((difference << 1) ^ (difference >> 31)).cast_unsigned()) as usize,
                    };
                }
            }
        }
        let mut out = BitWriter::new();
        let layout = RowLayout::new(&schema);
        encode_row(&layout, &row, Some(&base), &mut out);
        prop_assert_eq!(out.bit_len(), bits);
        let mut absolute = BitWriter::new();
        encode_row(&layout, &row, None, &mut absolute);
        prop_assert!(is_absolute_row_below(&layout, &row, absolute.bit_len() + 1));
        for fewer in 0..=absolute.bit_len() {
            prop_assert!(!is_absolute_row_below(&layout, &row, fewer));
        }
    }
}
