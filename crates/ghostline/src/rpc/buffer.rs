//! The RPC messages of one connection: on the way out framed and gathered into packets, on the way in whole and not yet read.
//! Filled by `send`, `sender` and the receive step; emptied by `send::flush` and `receive`. Every queue here has a bound.

use bevy_ecs::prelude::Component;
use ghostline_wire::{
    BitWriter, PacketSequence, ReceivedPackets, RpcName, UNRELIABLE_RPC_HEADER_BYTES, begin_packet,
    begin_unreliable_packet, limits::MAX_RPC_FRAMES_PER_PACKET, push_frame,
};
use std::collections::VecDeque;

use super::data::RpcDelivery;
use super::sender::SendRpcError;
use crate::connection::{MAX_INCOMING_MESSAGES, MAX_INCOMING_RPC_MESSAGES, MAX_RPC_PAYLOAD_BYTES};

/// A connection holds at most so many bytes of reliable RPCs that wait for the transport.
pub const MAX_WAITING_RPC_BYTES: usize = 4 * 1024 * 1024;

/// A connection takes at most so many bytes of unreliable RPCs in one tick.
pub const MAX_WAITING_UNRELIABLE_RPC_BYTES: usize = 64 * 1024;

/// A connection holds at most so many bytes of received RPCs between two ticks: twice what an honest peer's send queue can hold. One
/// more message closes the connection with `ProtocolError`.
pub const MAX_INCOMING_RPC_BYTES: usize = 2 * MAX_WAITING_RPC_BYTES;

/// RPCs that wait to be sent, already framed and gathered into packets.
#[derive(Component, Debug, Default)]
pub struct OutgoingRpcDataStreamBuffer {
    pub(super) reliable: Packets,
    pub(super) unreliable: Packets,
    next_sequence: PacketSequence,
    /// RPCs share a packet up to this size, in bytes.
    packet_bytes: usize,
}

impl OutgoingRpcDataStreamBuffer {
    /// Bytes that wait to be sent.
    pub fn bytes(&self) -> usize {
        self.reliable.bytes() + self.unreliable.bytes()
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.reliable.is_empty() && self.unreliable.is_empty()
    }

    pub(crate) fn with_packet_bytes(packet_bytes: usize) -> Self {
        Self { packet_bytes, ..Self::default() }
    }

    /// Appends a frame; small ones share a packet, and no reliable one ever overtakes another.
    pub(super) fn push(
        &mut self,
        name: RpcName,
        delivery: RpcDelivery,
        payload: &BitWriter,
    ) -> Result<(), SendRpcError> {
        let packet_bytes = self.packet_bytes;
        match delivery {
            RpcDelivery::Reliable => {
                self.reliable.push(name, payload, packet_bytes, MAX_WAITING_RPC_BYTES, begin_packet)
            }
            RpcDelivery::Unreliable => {
                let sequence = &mut self.next_sequence;
                self.unreliable.push(name, payload, packet_bytes, MAX_WAITING_UNRELIABLE_RPC_BYTES, |packet| {
                    begin_unreliable_packet(packet, *sequence);
                    *sequence = sequence.next();
                })
            }
        }
    }
}

/// Packets of frames; the last one is open for more.
#[derive(Debug, Default)]
pub(super) struct Packets {
    full: VecDeque<Vec<u8>>,
    full_bytes: usize,
    open: Vec<u8>,
    open_frames: usize,
}

impl Packets {
    pub(super) fn bytes(&self) -> usize {
        self.full_bytes + self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.open.is_empty()
    }

    fn push(
        &mut self,
        name: RpcName,
        payload: &BitWriter,
        packet_bytes: usize,
        limit: usize,
        begin: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), SendRpcError> {
        let bytes = payload.byte_len();
        if bytes > MAX_RPC_PAYLOAD_BYTES {
            return Err(SendRpcError::TooLarge { bytes, limit: MAX_RPC_PAYLOAD_BYTES });
        }
        let frame_bytes = name.header_bytes() + bytes;
        if self.bytes() + UNRELIABLE_RPC_HEADER_BYTES + frame_bytes > limit {
            return Err(SendRpcError::Full { limit });
        }
        let has_room = self.open.len() + frame_bytes <= packet_bytes && self.open_frames < MAX_RPC_FRAMES_PER_PACKET;
        if !has_room {
            self.close_open();
        }
        if self.open.is_empty() {
            begin(&mut self.open);
        }
        self.open_frames += 1;
        push_frame(&mut self.open, name, payload.as_bytes(), payload.bit_len())
            .map_err(|error| SendRpcError::TooLarge { bytes: error.bytes, limit: error.limit })
    }

    /// What follows goes into another packet.
    pub(super) fn close_open(&mut self) {
        if !self.open.is_empty() {
            let packet = std::mem::take(&mut self.open);
            self.open_frames = 0;
            self.full_bytes += packet.len();
            self.full.push_back(packet);
        }
    }

    /// The first packet; only closed ones are.
    pub(super) fn front(&self) -> Option<&[u8]> {
        self.full.front().map(Vec::as_slice)
    }

    pub(super) fn pop_front(&mut self) -> Option<Vec<u8>> {
        let packet = self.full.pop_front()?;
        self.full_bytes -= packet.len();
        Some(packet)
    }

    /// Appends what waits in `later`.
    pub(super) fn append(&mut self, mut later: Self) {
        self.close_open();
        later.close_open();
        self.full_bytes += later.full_bytes;
        self.full.append(&mut later.full);
    }
}

/// Whole messages with RPCs that arrived and were not executed yet.
#[derive(Component, Debug, Default)]
pub struct IncomingRpcDataStreamBuffer {
    reliable: VecDeque<Vec<u8>>,
    reliable_bytes: usize,
    unreliable: VecDeque<Vec<u8>>,
    /// Which unreliable packets came already.
    pub(super) received: ReceivedPackets,
}

impl IncomingRpcDataStreamBuffer {
    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.reliable.len() + self.unreliable.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.reliable_bytes + self.unreliable.iter().map(Vec::len).sum::<usize>()
    }

    /// Takes a message in; gives it back if there is no room.
    pub(crate) fn push(&mut self, delivery: RpcDelivery, message: Vec<u8>) -> Result<(), Vec<u8>> {
        match delivery {
            RpcDelivery::Reliable => {
                let bytes = self.reliable_bytes + message.len();
                if self.reliable.len() >= MAX_INCOMING_RPC_MESSAGES || bytes > MAX_INCOMING_RPC_BYTES {
                    return Err(message);
                }
                self.reliable_bytes = bytes;
                self.reliable.push_back(message);
            }
            RpcDelivery::Unreliable => {
                if self.unreliable.len() >= MAX_INCOMING_MESSAGES {
                    return Err(message);
                }
                self.unreliable.push_back(message);
            }
        }
        Ok(())
    }

    pub(super) fn pop(&mut self, delivery: RpcDelivery) -> Option<Vec<u8>> {
        match delivery {
            RpcDelivery::Reliable => {
                let message = self.reliable.pop_front()?;
                self.reliable_bytes -= message.len();
                Some(message)
            }
            RpcDelivery::Unreliable => self.unreliable.pop_front(),
        }
    }

    /// Drops everything unread.
    pub(super) fn clear(&mut self) {
        self.reliable.clear();
        self.reliable_bytes = 0;
        self.unreliable.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: usize) -> BitWriter {
        let mut out = BitWriter::new();
        out.write_bytes(&vec![7; bytes]);
        out
    }

    fn push(buffer: &mut OutgoingRpcDataStreamBuffer, delivery: RpcDelivery, bytes: usize) -> Result<(), SendRpcError> {
        buffer.push(RpcName::Index(16), delivery, &payload(bytes))
    }

    fn sizes(packets: &mut Packets) -> Vec<usize> {
        packets.close_open();
        std::iter::from_fn(|| packets.pop_front()).map(|packet| packet.len()).collect()
    }

    #[test]
    fn frames_share_packets_up_to_their_size_and_large_ones_have_their_own() {
        for (delivery, header) in [(RpcDelivery::Reliable, 1), (RpcDelivery::Unreliable, 3)] {
            let mut buffer = OutgoingRpcDataStreamBuffer::with_packet_bytes(100);
            for bytes in [10, 20, 300, 10, 88, 1] {
                push(&mut buffer, delivery, bytes).unwrap();
            }
            let waiting = buffer.bytes();
            let packets = match delivery {
                RpcDelivery::Reliable => &mut buffer.reliable,
                RpcDelivery::Unreliable => &mut buffer.unreliable,
            };
            let sizes = sizes(packets);
            assert_eq!(sizes, [header + 38, header + 304, header + 14, header + 97]);
            assert_eq!(waiting, sizes.iter().sum::<usize>());
            assert!(buffer.is_empty() && buffer.bytes() == 0);
        }
    }

    #[test]
    fn a_packet_holds_no_more_frames_than_a_receiver_takes() {
        let mut buffer = OutgoingRpcDataStreamBuffer::with_packet_bytes(1_000_000);
        for _ in 0..2 * MAX_RPC_FRAMES_PER_PACKET + 1 {
            push(&mut buffer, RpcDelivery::Reliable, 0).unwrap();
        }
        let full = 1 + 4 * MAX_RPC_FRAMES_PER_PACKET;
        assert_eq!(sizes(&mut buffer.reliable), [full, full, 5]);
    }

    #[test]
    fn what_waits_is_bounded_and_a_refusal_takes_nothing() {
        for (delivery, limit) in [
            (RpcDelivery::Reliable, MAX_WAITING_RPC_BYTES),
            (RpcDelivery::Unreliable, MAX_WAITING_UNRELIABLE_RPC_BYTES),
        ] {
            let mut buffer = OutgoingRpcDataStreamBuffer::with_packet_bytes(1_162);
            let error = loop {
                if let Err(error) = push(&mut buffer, delivery, 8_000) {
                    break error;
                }
            };
            assert_eq!(error, SendRpcError::Full { limit });
            assert!((limit - 10_000..=limit).contains(&buffer.bytes()));
            let before = buffer.bytes();
            let huge = push(&mut buffer, delivery, 8_192);
            assert_eq!(huge, Err(SendRpcError::TooLarge { bytes: 8_192, limit: 8_191 }));
            assert_eq!(buffer.bytes(), before);
        }
    }

    #[test]
    fn what_arrived_is_bounded_by_messages_and_bytes() {
        let mut incoming = IncomingRpcDataStreamBuffer::default();
        while incoming.push(RpcDelivery::Reliable, vec![0; 64 * 1024]).is_ok() {}
        assert_eq!((incoming.len(), incoming.bytes()), (128, MAX_INCOMING_RPC_BYTES));
        incoming.clear();
        while incoming.push(RpcDelivery::Reliable, vec![0]).is_ok() {}
        assert_eq!(incoming.len(), MAX_INCOMING_RPC_MESSAGES);
        while incoming.push(RpcDelivery::Unreliable, vec![0; 9]).is_ok() {}
        assert_eq!(incoming.len(), MAX_INCOMING_RPC_MESSAGES + MAX_INCOMING_MESSAGES);
        while incoming.pop(RpcDelivery::Reliable).is_some() {}
        assert_eq!(incoming.bytes(), 9 * MAX_INCOMING_MESSAGES);
    }
}
