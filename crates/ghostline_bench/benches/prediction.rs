//! Criterion benches of prediction: a frame of 500 ghosts that goes back ten ticks, a frame of a quiet world, and a rollback of 1,000 ghosts of 64 bytes
//! over eight ticks beside the same simulation without prediction.

#![expect(missing_docs, reason = "criterion's macro makes an undocumented public function")]

use criterion::{Criterion, criterion_group, criterion_main};
use ghostline_bench::prediction::{Setup, Workload, Wrong, run};
use std::time::Duration;

const TEN_TICKS: Setup = Setup { ghosts: 500, crowd: 0, replayed: 10, wrong: Wrong::Everybody, work: 10, frames: 60 };
const QUIET: Setup = Setup { wrong: Wrong::Nobody, ..TEN_TICKS };
const ROLLBACK: Setup = Setup { ghosts: 1000, replayed: 8, ..TEN_TICKS };

fn prediction(criterion: &mut Criterion) {
    for (name, setup) in [
        ("10 ticks of 500 predicted ghosts", TEN_TICKS),
        ("a quiet world of 500 predicted ghosts", QUIET),
        ("a rollback of 1,000 ghosts over 8 ticks", ROLLBACK),
    ] {
        run(setup).print();
        let mut workload = Workload::new(setup);
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                Duration::from_nanos((0..iterations).map(|_| workload.frame().cost.cpu_ns).sum())
            });
        });
    }
    let mut workload = Workload::new(ROLLBACK);
    criterion.bench_function("the same simulation without prediction, 9 ticks", |bencher| {
        bencher.iter_custom(|iterations| {
            Duration::from_nanos((0..iterations).map(|_| workload.pure_ticks(9).cpu_ns).sum())
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = prediction
}
criterion_main!(benches);
