//! Section 3: RPCs and the handshake.

use ghostline_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::strategies::number;
use crate::{config, round_trip};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn rpc_frames_come_back(
        payloads in vec((any::<u64>(), vec(any::<u8>(), 0..40), any::<Index>()), 0..10),
        by_id: bool,
    ) {
        let naming = if by_id { RpcNaming::Id } else { RpcNaming::Index };
        let name = |number: u64| match (by_id, number.is_multiple_of(3)) {
            (true, false) => RpcName::id_of(number),
            (true, true) => RpcName::Index(number as u16 % 16),
            (false, _) => RpcName::Index(number as u16),
        };
        let mut out = Vec::new();
        begin_packet(&mut out);
        for (number, payload, bits) in &payloads {
            let written = push_frame(&mut out, name(*number), payload, bits.index(payload.len() * 8 + 1));
            prop_assert_eq!(written, Ok(()));
        }
        prop_assert_eq!(MessageKind::from_byte(out[0]), Some(MessageKind::Rpc));
        let read: Vec<RpcFrame<'_>> = named_frames(&out[1..], naming).expect("valid").collect();
        prop_assert_eq!(read.len(), payloads.len());
        for (frame, (number, payload, bits)) in read.iter().zip(&payloads) {
            prop_assert_eq!(frame.name, name(*number));
            let bits = bits.index(payload.len() * 8 + 1);
            let (mut reader, mut expected) = (frame.reader(), BitReader::with_bits(payload, bits));
            prop_assert_eq!(reader.remaining_bits(), bits);
            while !expected.is_empty() {
                prop_assert_eq!(reader.read_bool(), expected.read_bool());
            }
        }
    }

    #[test]
    fn the_handshake_comes_back(
        version in (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>()),
        network_id in number(),
        rates in any::<[i32; 5]>(),
        handshake_approval_timeout_ms in any::<u32>(),
    ) {
        let (wire, game, rpc_collection, component_collection) = version;
        let version = ProtocolVersion { wire, game, rpc_collection, component_collection };
        prop_assert_eq!(round_trip(|out| version.encode(out), ProtocolVersion::decode)?, version);
        let tick_rate = TickRateBlock {
            simulation_tick_rate: rates[0],
            network_tick_rate: rates[1],
            max_simulation_step_batch_size: rates[2],
            max_simulation_steps_per_frame: rates[3],
            predicted_fixed_step_simulation_tick_ratio: rates[4],
            handshake_approval_timeout_ms,
        };
        let approved = ConnectionApproved { network_id, tick_rate };
        prop_assert_eq!(round_trip(|out| approved.encode(out), ConnectionApproved::decode)?, approved);
    }
}
