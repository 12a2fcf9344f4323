//! scratch
use super::session::*;
use std::time::Duration;

fn stats(v: &[f64]) -> String {
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    let min = v.iter().cloned().fold(f64::MAX, f64::min);
    let max = v.iter().cloned().fold(f64::MIN, f64::max);
    format!("mean {mean:.2} min {min:.2} max {max:.2}")
}

#[test]
fn leads() {
    for (one_way, jitter, loss) in [(0.0,0.0,0.0),(25.0,0.0,0.0),(25.0,5.0,0.0),(75.0,0.0,0.0),(75.0,20.0,0.05),(150.0,0.0,0.0),(150.0,30.0,0.3),(20.0,60.0,0.0),(400.0,0.0,0.0)] {
        let mut s = Session::new(7);
        s.set_link(one_way, jitter, loss);
        let (mut leads, mut delays, mut scale) = (vec![], vec![], vec![]);
        let mut resets = 0; let mut skipped = 0;
        s.run(5.0, |_, f| { skipped += u32::from(!f.runs); });
        s.server.margins.clear();
        s.client.sync.take_statistics();
        let mut last = s.client.output.predict_target.unwrap();
        s.run(20.0, |s, f| {
            leads.push(s.lead()); delays.push(s.interpolation_delay());
            resets += u32::from(s.client.output.warning.is_some()); skipped += u32::from(!f.runs);
            let now = s.client.output.predict_target.unwrap();
            scale.push(now.since(last).to_f64()); last = now;
        });
        let m: Vec<f64> = s.server.margins.iter().map(|&x| x as f64).collect();
        println!("{one_way}+{jitter} loss {loss}: rtt {:?} dev {:.1} lead {} | delay {} cur {:.2} | margin {} late {} of {} | speed {} | latency {} resets {resets} skipped {skipped}",
            s.client.rtt.estimated_ms(), s.client.rtt.deviation_ms(), stats(&leads), stats(&delays), s.client.output.current_interpolation_delay_ticks,
            stats(&m), m.iter().filter(|&&x| x < 0.0).count(), m.len(), stats(&scale), s.client.output.effective_input_latency_ticks);
    }
}

#[test]
fn steps() {
    for (from, to) in [(20.0, 70.0), (70.0, 20.0), (25.0, 250.0), (10.0, 200.0), (200.0, 10.0)] {
        let mut s = Session::new(7);
        s.set_link(from, 0.0, 0.0);
        s.run(5.0, |_, _| {});
        let before = s.lead();
        s.set_link(to, 0.0, 0.0);
        let mut line = format!("{from}->{to}: before {before:.1}: ");
        let mut i = 0;
        s.run(4.0, |s, f| { i += 1; if i % 6 == 0 { line += &format!("{:.1}{}{} ", s.lead(), if f.runs {""} else {"s"}, if s.client.output.warning.is_some() {"!"} else {""}); }
           if s.client.output.warning.is_some() { line += &format!("[{}]", s.client.output.warning.unwrap().ticks); } });
        println!("{line}");
    }
}

#[test]
fn rate05() {
    for extra in [0.0, 0.3, 0.7] {
        let mut s = Session::new(7);
        s.run(2.0 + extra, |_, _| {});
        println!("margin {:?} age {} target {:?}", s.server.margins.last(), s.client.command_age_q8, s.client.output.predict_target);
        s.client.sync.shift_predict_target(-10);
        let dt = Duration::from_nanos(16_666_667);
        let r: Vec<bool> = (0..14).map(|_| s.frame(dt).runs).collect();
        println!("{r:?} {:?}", s.client.output.predict_target);
    }
}

#[test]
fn rate06() {
    let mut s = Session::new(7);
    s.run(1.0, |_, _| {});
    let dt = Duration::from_nanos(16_666_667);
    for i in 0..20 { s.now += 16_666_667; let f = s.client_frame(); if !f.runs || f.jump_back.is_some() { println!("c{i} {f:?}"); } }
    // server's clock stands still
    s.server.oscillator.advance(s.now);
    for i in 0..12 { 
        let f = s.frame(dt);
        println!("{i} {:?} {:?} {:?} age {} est {:?} rtt {:?}", f.runs, f.jump_back, s.client.output.predict_target, s.client.command_age_q8, s.client.output.latest_snapshot_estimate, s.client.rtt.estimated_ms());
    }
}
#[test]
fn inproc() {
    for (name, rate, lo, hi) in [("time01", 60, 0.75/60.0, 0.75/60.0), ("pred08", 60, 1.0/60.0, 1.0/60.0), ("pred09", 30, 0.1/60.0, 0.4/60.0)] {
        for client_first in [false, true] {
        let mut s = Session::with_rate(7, super::super::ClientServerTickRate { simulation_tick_rate: rate, ..Default::default() });
        s.client.is_in_process = true;
        let mut r = Random(3);
        let mut ages = vec![]; let (mut miss, mut notnewer, mut notequal) = (0,0,0);
        let mut last_bad = 0;
        for i in 0..2048 {
            let dt = Duration::from_secs_f64(r.between(lo, hi));
            s.now += dt.as_nanos() as u64;
            let f; let ticked;
            if client_first { f = s.client_frame(); ticked = s.server_frame() } else { ticked = s.server_frame(); f = s.client_frame(); }
            ages.push(s.server.command_age_q8 as f64);
            if let Some(t) = s.client.time.server_tick { 
                if !f.runs { miss += 1; last_bad = i; }
                if !t.is_newer_than(s.server.server_loop.tick()) { notnewer += 1; last_bad = i; }
                if ticked > 0 && s.server.newest_full_command != Some(s.server.server_loop.tick()) { notequal += 1; if name=="pred08" {last_bad = i;} }
            }
        }
        println!("{name} client_first {client_first}: ages {} last {:?} miss {miss} notnewer {notnewer} notequal {notequal} lastbad {last_bad} lead {:.2}", stats(&ages), &ages[40..60], s.lead());
    }}
}
