//! The motion of the common workload: agents that walk an arena. A copy of what the peers are measured with, formula by formula,
//! so that figures compare; every run of the same size moves alike.

/// Splitmix64.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to 1.
    pub fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// From 0 up to `n`, which must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next_u64() % n as u64) as usize
    }
}

/// Side of the arena, in m.
const ARENA: f32 = 500.0;
/// A tick, in s.
const DT: f32 = 1.0 / 60.0;

/// Agents on the ground: steering random walk, 0 to 5 m/s, height of the terrain, heading with the slope's pitch. Exactly
/// `round(p × n)` move each tick; one moves for 2 s on average and is then replaced by another. Health changes with
/// probability 1/1000 per agent and tick.
pub struct Motion {
    /// In m.
    pub positions: Vec<[f32; 3]>,
    /// Quaternions.
    pub rotations: Vec<[f32; 4]>,
    /// Points.
    pub health: Vec<u16>,
    /// Who moved in the last step.
    pub moved: Vec<u32>,
    /// Whose health changed in the last step.
    pub hurt: Vec<u32>,
    yaw: Vec<f32>,
    yaw_rate: Vec<f32>,
    speed: Vec<f32>,
    moving: Vec<u32>,
    left: Vec<u32>,
    idle: Vec<u32>,
    rng: Rng,
}

fn height(x: f32, z: f32) -> f32 {
    6.0 * (x * 0.021).sin() * (z * 0.017).cos() + 1.5 * (x * 0.093 + z * 0.071).sin()
}

fn rotation(yaw: f32, pitch: f32) -> [f32; 4] {
    let (sy, cy) = (yaw * 0.5).sin_cos();
    let (sp, cp) = (pitch * 0.5).sin_cos();
    [cy * sp, sy * cp, -sy * sp, cy * cp]
}

/// How long an agent moves, in ticks.
fn duration(rng: &mut Rng) -> u32 {
    (1.0 + -120.0 * (1.0 - rng.unit()).max(1e-6).ln()) as u32
}

impl Motion {
    /// `n` agents of which the share `p` moves.
    pub fn new(n: usize, p: f64) -> Self {
        let mut rng = Rng(0x00C0_FFEE ^ n as u64);
        let mut motion = Self {
            positions: Vec::new(),
            rotations: Vec::new(),
            health: Vec::new(),
            moved: Vec::new(),
            hurt: Vec::new(),
            yaw: Vec::new(),
            yaw_rate: Vec::new(),
            speed: Vec::new(),
            moving: Vec::new(),
            left: Vec::new(),
            idle: Vec::new(),
            rng: Rng(0x0BAD_C0DE ^ n as u64),
        };
        #[expect(clippy::approx_constant, reason = "the peers' number; another would be another workload")]
        const HALF_TURN: f32 = 3.14159;
        for _ in 0..n {
            let x = rng.range(-ARENA / 2.0, ARENA / 2.0);
            let z = rng.range(-ARENA / 2.0, ARENA / 2.0);
            motion.positions.push([x, height(x, z), z]);
            let yaw = rng.range(-HALF_TURN, HALF_TURN);
            motion.yaw.push(yaw);
            motion.rotations.push(rotation(yaw, 0.0));
            motion.yaw_rate.push(0.0);
            motion.speed.push(rng.range(0.5, 5.0));
            motion.health.push(100);
        }
        let moving = (p * n as f64).round() as usize;
        let mut ids: Vec<u32> = (0..n as u32).collect();
        for i in 0..n {
            let j = i + rng.below(n - i);
            ids.swap(i, j);
        }
        motion.idle = ids.split_off(moving);
        motion.moving = ids;
        motion.left = (0..moving).map(|_| duration(&mut rng)).collect();
        motion
    }

    /// One tick.
    pub fn step(&mut self) {
        self.moved.clear();
        self.hurt.clear();
        for k in 0..self.moving.len() {
            self.move_agent(k);
        }
        let n = self.positions.len();
        let count = n / 1000 + usize::from(self.rng.below(1000) < n % 1000);
        for _ in 0..count {
            let i = self.rng.below(n);
            self.health[i] = if self.health[i] < 10 { 100 } else { self.health[i] - 1 - self.rng.below(9) as u16 };
            self.hurt.push(i as u32);
        }
    }

    fn move_agent(&mut self, k: usize) {
        let i = self.moving[k] as usize;
        let rng = &mut self.rng;
        self.yaw_rate[i] = self.yaw_rate[i] * 0.95 + rng.range(-0.25, 0.25);
        self.yaw[i] += self.yaw_rate[i] * DT;
        self.speed[i] = (self.speed[i] + rng.range(-0.1, 0.1)).clamp(0.3, 5.0);
        let (s, c) = self.yaw[i].sin_cos();
        let v = self.speed[i];
        let [px, py, pz] = self.positions[i];
        let (mut x, mut z) = (px + s * v * DT, pz + c * v * DT);
        if x.abs() > ARENA / 2.0 || z.abs() > ARENA / 2.0 {
            x = x.clamp(-ARENA / 2.0, ARENA / 2.0);
            z = z.clamp(-ARENA / 2.0, ARENA / 2.0);
            self.yaw[i] += 2.0;
        }
        let y = height(x, z);
        let pitch = -((y - py) / (v * DT)).atan();
        self.positions[i] = [x, y, z];
        self.rotations[i] = rotation(self.yaw[i], pitch);
        self.moved.push(i as u32);
        if !self.idle.is_empty() {
            self.left[k] -= 1;
            if self.left[k] == 0 {
                let j = self.rng.below(self.idle.len());
                std::mem::swap(&mut self.idle[j], &mut self.moving[k]);
                self.left[k] = duration(&mut self.rng);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_asked_share_moves_on_every_tick_and_runs_repeat() {
        let (mut one, mut other) = (Motion::new(200, 0.1), Motion::new(200, 0.1));
        for _ in 0..500 {
            one.step();
            other.step();
            assert_eq!(one.moved.len(), 20);
        }
        assert_eq!(one.positions, other.positions);
        assert!(one.health.iter().any(|&health| health != 100));
    }
}
