//! Criterion benches of the snapshot path: collect, encode, decode, and a whole server tick of 1,000 ghosts and 16 clients.
//! Allocations per tick and bytes per moved ghost are printed beside the times.

#![expect(missing_docs, reason = "criterion's macro makes an undocumented public function")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ghostline::snapshot::plain::SendLimits;
use ghostline_bench::codec::{Session, agents};
use ghostline_bench::common::{self, Setup, Workload};
use ghostline_bench::motion::Motion;
use std::hint::black_box;

const SETUP: Setup = Setup {
    agents: 1000,
    clients: 16,
    moving: 1.0,
    lag: 6,
    ticks: 120,
    warm: 60,
    idle: 0,
    loss: 0.0,
    seed: 1,
    bits: false,
};

/// A session of the workload's agents that has reached its steady state.
fn steady(clients: usize) -> (Session, Motion) {
    let (mut session, mut motion) =
        (Session::new(&agents::schema(), SETUP.agents, clients, 6), Motion::new(SETUP.agents, 1.0));
    for _ in 0..60 {
        motion.step();
        session.set_rows(|ghost, row| agents::row(&motion, ghost, row));
        session.exchange();
    }
    (session, motion)
}

fn codec(criterion: &mut Criterion) {
    let (mut session, mut motion) = steady(16);
    criterion.bench_function("collect: 1,000 rows into the store", |bencher| {
        bencher.iter_batched(
            || motion.step(),
            |()| {
                session.set_rows(|_, row| row[0] = row[0].wrapping_add(1));
                session.seal();
            },
            BatchSize::PerIteration,
        );
    });
    let (mut session, mut motion) = steady(16);
    criterion.bench_function("encode: 1,000 moved ghosts for 16 clients", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..iterations {
                motion.step();
                session.set_rows(|ghost, row| agents::row(&motion, ghost, row));
                let begin = std::time::Instant::now();
                black_box(session.encode(SendLimits::default()));
                spent += begin.elapsed();
                session.deliver();
            }
            spent
        });
    });
    let (mut session, mut motion) = steady(1);
    criterion.bench_function("decode: 1,000 moved ghosts of one client", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..iterations {
                motion.step();
                session.set_rows(|ghost, row| agents::row(&motion, ghost, row));
                session.encode(SendLimits::default());
                let begin = std::time::Instant::now();
                black_box(session.deliver());
                spent += begin.elapsed();
            }
            spent
        });
    });
}

fn tick(criterion: &mut Criterion) {
    common::run(SETUP).print();
    let mut workload = Workload::new(SETUP);
    for _ in 0..SETUP.warm {
        workload.tick();
    }
    criterion.bench_function("a server tick: 1,000 moved ghosts, 16 clients", |bencher| {
        bencher.iter_custom(|iterations| {
            let spent = (0..iterations).map(|_| workload.server_tick_ns()).sum();
            std::time::Duration::from_nanos(spent)
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = codec, tick
}
criterion_main!(benches);
