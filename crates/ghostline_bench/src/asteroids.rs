//! The asteroids: spheres that drift, spin and bounce inside a bound around a planet, 30 frames a second; positions to 1 cm, orientations to
//! 1/1000. The motion is the project's own re-implementation of an open benchmark; all of it is generated here.

use ghostline::wire::{FieldKind, GhostSchema};

use crate::codec::component;
use crate::replay::{Figures, Replay};
use crate::report::Report;

const BODIES: usize = 250;
const SECONDS: usize = 120;
/// Steps of the simulation before the first frame.
const SETTLING_STEPS: usize = 600;
const DT: f64 = 1.0 / 60.0;

type Vector = [f64; 3];

fn add(a: Vector, b: Vector) -> Vector {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}
fn sub(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}
fn mul(a: Vector, s: f64) -> Vector {
    [a[0] * s, a[1] * s, a[2] * s]
}
fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}
fn length(a: Vector) -> f64 {
    dot(a, a).sqrt()
}
fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Xorshift.
struct Rng(u64);

impl Rng {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn in_sphere(&mut self) -> Vector {
        loop {
            let a = [self.unit() * 2. - 1., self.unit() * 2. - 1., self.unit() * 2. - 1.];
            if length(a) <= 1. && length(a) > 1e-3 {
                return a;
            }
        }
    }
}

struct Body {
    position: Vector,
    velocity: Vector,
    spin: Vector,
    orientation: [f64; 4],
    radius: f64,
    mass: f64,
    speed: f64,
}

struct Field {
    bodies: Vec<Body>,
    bound: f64,
    planet: f64,
}

impl Field {
    fn new(count: usize) -> Self {
        let mut rng = Rng(0x9E37_79B9_7F4A_7C15 ^ 2323);
        let bound = 50. * (count as f64 / 1000.).powf(1. / 3.);
        let planet = bound * 0.16;
        let mut bodies: Vec<Body> = Vec::new();
        while bodies.len() < count {
            let radius = 0.25 + 0.75 * rng.unit();
            let mut position = mul(rng.in_sphere(), bound);
            let outwards = mul(position, 1. / length(position));
            while length(position) < planet + radius
                || bodies.iter().any(|other| length(sub(other.position, position)) < other.radius + 2. * radius)
            {
                position = add(position, mul(outwards, 2. * radius));
            }
            let speed = 1. + 3. * rng.unit();
            let direction = rng.in_sphere();
            let orientation = {
                let x = rng.in_sphere();
                let w = rng.unit() * 2. - 1.;
                let l = (dot(x, x) + w * w).sqrt();
                [x[0] / l, x[1] / l, x[2] / l, w / l]
            };
            bodies.push(Body {
                position,
                velocity: mul(direction, speed / length(direction)),
                spin: mul(rng.in_sphere(), 45f64.to_radians()),
                orientation,
                radius,
                mass: radius * radius * radius,
                speed,
            });
        }
        Self { bodies, bound, planet }
    }

    fn step(&mut self) {
        let (bound, planet) = (self.bound, self.planet);
        for body in &mut self.bodies {
            body.drive(bound);
            body.rotate();
            body.touch_planet(planet);
        }
        for i in 0..self.bodies.len() {
            let (before, after) = self.bodies.split_at_mut(i + 1);
            for other in after {
                collide(&mut before[i], other);
            }
        }
    }
}

impl Body {
    fn drive(&mut self, bound: f64) {
        let distance = length(self.position);
        if distance > bound {
            self.velocity = sub(self.velocity, mul(self.position, 10. * DT / distance));
        } else {
            let s = length(self.velocity);
            if (s * s - self.speed * self.speed).abs() > 0.001 {
                let servo = if s < self.speed { (s + 5. * DT).min(self.speed) } else { (s - 5. * DT).max(self.speed) };
                self.velocity = mul(self.velocity, servo / s.max(1e-6));
            }
        }
        self.position = add(self.position, mul(self.velocity, DT));
    }

    fn rotate(&mut self) {
        let (q, w, h) = (self.orientation, self.spin, DT * 0.5);
        let change = [
            h * (w[0] * q[3] + w[1] * q[2] - w[2] * q[1]),
            h * (w[1] * q[3] + w[2] * q[0] - w[0] * q[2]),
            h * (w[2] * q[3] + w[0] * q[1] - w[1] * q[0]),
            h * (-w[0] * q[0] - w[1] * q[1] - w[2] * q[2]),
        ];
        let mut turned = [0.; 4];
        for k in 0..4 {
            turned[k] = q[k] + change[k];
        }
        let l = turned.iter().map(|x| x * x).sum::<f64>().sqrt();
        self.orientation = turned.map(|x| x / l);
    }

    fn touch_planet(&mut self, planet: f64) {
        let distance = length(self.position);
        if distance >= planet + self.radius {
            return;
        }
        let normal = mul(self.position, 1. / distance);
        let inwards = dot(self.velocity, normal);
        if inwards < 0. {
            let along = sub(self.velocity, mul(normal, inwards));
            self.velocity = sub(self.velocity, mul(normal, 1.4 * inwards));
            self.velocity = sub(self.velocity, mul(along, 0.2));
            self.spin = add(self.spin, mul(cross(normal, along), 0.2 / self.radius));
        }
        self.position = mul(normal, planet + self.radius);
    }
}

fn collide(a: &mut Body, b: &mut Body) {
    let apart = sub(a.position, b.position);
    let (squared, reach) = (dot(apart, apart), a.radius + b.radius);
    if squared >= reach * reach {
        return;
    }
    let distance = squared.sqrt().max(1e-6);
    let normal = mul(apart, 1. / distance);
    let relative = sub(a.velocity, b.velocity);
    let approach = dot(relative, normal);
    if approach < 0. {
        let impulse = -1.4 * approach / (1. / a.mass + 1. / b.mass);
        a.velocity = add(a.velocity, mul(normal, impulse / a.mass));
        b.velocity = sub(b.velocity, mul(normal, impulse / b.mass));
        let along = sub(relative, mul(normal, approach));
        let axis = cross(normal, along);
        a.spin = add(a.spin, mul(axis, 0.15 / a.radius));
        b.spin = add(b.spin, mul(axis, 0.15 / b.radius));
    }
    let overlap = (reach - distance) * 0.5;
    a.position = add(a.position, mul(normal, overlap));
    b.position = sub(b.position, mul(normal, overlap));
}

/// Every frame's rows: seven lanes per body.
fn frames(bodies: usize, seconds: usize) -> Vec<Vec<[i32; 7]>> {
    let mut field = Field::new(bodies);
    let mut frames = Vec::new();
    for step in 0..seconds * 60 {
        field.step();
        if step % 2 == 1 && step > SETTLING_STEPS {
            let lanes = |body: &Body| {
                let [x, y, z] = body.position.map(|v| (v * 100.).round() as i32);
                let [a, b, c, d] = body.orientation.map(|v| (v * 1000.).round() as i32);
                [x, y, z, a, b, c, d]
            };
            frames.push(field.bodies.iter().map(lanes).collect());
        }
    }
    frames
}

fn schema() -> GhostSchema {
    GhostSchema {
        name: "asteroid".to_owned(),
        options: String::new(),
        components: vec![
            component("Position", &[("value", FieldKind::Vec3, 100)]),
            component("Rotation", &[("value", FieldKind::Quat, 1000)]),
        ],
    }
}

/// Runs the command: figures at `lag` (with what the bits are spent on, if it is asked for), and the payload at lag 1 beside them.
pub fn run(lag: u32, with_bits: bool) -> Report {
    let frames = frames(BODIES, SECONDS);
    let (figures, shortest) = (replay(&frames, lag, with_bits), replay(&frames, 1, false));
    let bits = |figures: &Figures| figures.bytes as f64 * 8.0 / (figures.frames * BODIES as u64).max(1) as f64;
    figures
        .report(Report::new("asteroids").count("lag", u64::from(lag)))
        .number("bits_per_update", bits(&figures))
        .number("kb_s", figures.kbit_s() / 8.0)
        .number("bits_per_update_lag_1", bits(&shortest))
        .number("kb_s_lag_1", shortest.kbit_s() / 8.0)
        .count("mismatches_lag_1", shortest.mismatches)
        .bits(figures.bits)
}

fn replay(frames: &[Vec<[i32; 7]>], lag: u32, bits: bool) -> Figures {
    let schema = schema();
    let bodies = frames.first().map_or(0, Vec::len);
    let replay = Replay {
        schema: &schema,
        ghosts: bodies,
        frames: frames.len(),
        first_counted: 40 + 2 * lag as usize,
        rate: 30.0,
        lag,
        loss: 0.0,
        seed: 1,
        bits,
    };
    replay.run(|frame, body, row| {
        for (lane, value) in row.iter_mut().zip(&frames[frame][body]) {
            *lane = value.cast_unsigned();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_stay_near_their_bound_and_arrive_bit_for_bit() {
        let frames = frames(40, 14);
        assert_eq!(frames.len(), (14 * 60 - SETTLING_STEPS) / 2);
        let bound = 50. * 0.04f64.powf(1. / 3.) * 100.;
        let farthest = frames.iter().flatten().map(|row| f64::from(row[0].abs())).fold(0., f64::max);
        assert!(farthest > 0.2 * bound && farthest < 2. * bound, "{farthest} of {bound}");
        let figures = replay(&frames, 3, true);
        assert_eq!(figures.mismatches, 0);
        let bits = figures.bits.expect("asked for");
        assert_eq!((bits.total_bits(), bits.unknown_bits), (8 * figures.bytes, 0));
        assert!(figures.moved > 0 && figures.bytes > 0);
    }
}
