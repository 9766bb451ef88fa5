"""The standard patient of the phantoms: organs as closed formulas in millimetres.

The voxels of a case are carried into the standard patient by a random pose, a random size and a smooth
elastic warp, so that the anatomy deforms as a whole, as it does between people; on top of that every organ
moves, turns and grows a little on its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Curve = Sequence[tuple[float, float, float]]

# HU of every tissue in the three phases of contrast: none, arterial, portal venous.
TISSUE_HU: dict[str, tuple[float, float, float]] = {
    "air": (-1000, -1000, -1000),
    "gas": (-930, -930, -930),
    "lung": (-850, -845, -840),
    "lung_vessel": (-250, -150, -180),
    "fat": (-105, -105, -102),
    "skin": (10, 15, 20),
    "muscle": (52, 58, 64),
    "heart": (42, 190, 135),
    "bone": (210, 215, 220),
    "cortical_bone": (560, 560, 560),
    "disc": (75, 78, 85),
    "canal": (18, 18, 20),
    "liver": (56, 74, 112),
    "liver_vessel": (40, 92, 158),
    "lesion": (20, 34, 52),
    "spleen": (47, 112, 120),
    "kidney_cortex": (33, 170, 178),
    "kidney_medulla": (30, 70, 160),
    "aorta": (41, 310, 152),
    "vena_cava": (37, 78, 140),
    "gallbladder": (9, 10, 12),
    "pancreas": (40, 98, 88),
    "bowel": (34, 52, 66),
    "stomach": (20, 24, 24),
    "stomach_wall": (42, 76, 82),
    "stool": (-20, -20, -20),
}


class Patient:
    """Where every voxel lies in the standard patient, and what has been painted so far.

    Attributes:
        x, y, z: mm to the left, to the back and to the head, (z, y, x); the origin lies in front of the first
            lumbar vertebra.
        hu: the image so far.
        body: what is not air around the patient.
        inside: < 1 within the wall of the trunk.
        room: where an organ of the abdomen may lie.
    """

    def __init__(
        self,
        random: np.random.Generator,
        grid: tuple[int, int, int],
        spacing: tuple[float, float, float],
        phase: int,
    ) -> None:
        self.random, self.grid, self.spacing, self.phase = random, grid, spacing, phase
        axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(grid, spacing, strict=True)]
        z, y, x = (g.astype(np.float32) for g in np.meshgrid(*axes, indexing="ij", sparse=True))
        turn = np.float32(random.uniform(-0.09, 0.09))
        x, y = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        size = random.uniform(0.94, 1.05, 3).astype(np.float32)
        shift = (random.uniform(-1, 1, 3) * (8, 5, 14)).astype(np.float32)
        self.x = (x + shift[0]) / size[0] + 4.5 * self.noise(70)
        self.y = (y + shift[1]) / size[1] + 4.5 * self.noise(70)
        self.z = (z + shift[2] - 12) / size[2] + 6.0 * self.noise(70)
        self.hu = np.full(grid, TISSUE_HU["air"][phase], np.float32)
        self.body = self.room = np.zeros(grid, np.bool_)
        self.inside = np.zeros(grid, np.float32)

    def noise(self, width: float) -> Field:
        """Smooth random field of unit variance whose bumps are about `width` mm wide."""
        bases = [_spline_basis(n, n * step / width) for n, step in zip(self.grid, self.spacing, strict=True)]
        field = self.random.standard_normal([basis.shape[1] for basis in bases]).astype(np.float32)
        for basis in bases:
            # The first axis is contracted and comes back as the last: after three turns the order is z, y, x.
            field = np.einsum("abc,na->bcn", field, basis)
        return (field - field.mean()) / field.std()

    def ellipsoid(
        self,
        centre: ArrayLike,
        radii: ArrayLike,
        *,
        jitter: float = 4.0,
        vary: float = 0.05,
        tilt: ArrayLike = (0.0, 0.0, 0.0),
        wobble: float = 0.1,
    ) -> Field:
        """A field that is 1 on the surface of an ellipsoid and less inside.

        Args:
            centre, radii: mm in the standard patient, (x, y, z).
            jitter: mm by which the centre moves at most, along each axis.
            vary: share by which each radius differs at most.
            tilt: turn about x, y and z in radians.
            wobble: radians by which each turn differs at most.
        """
        middle = np.asarray(centre) + self.random.uniform(-jitter, jitter, 3)
        size = np.asarray(radii) * self.random.uniform(1 - vary, 1 + vary, 3)
        matrix = _rotation(np.asarray(tilt) + self.random.uniform(-wobble, wobble, 3)).T / size[:, None]
        dx, dy, dz = (axis - np.float32(m) for axis, m in zip((self.x, self.y, self.z), middle, strict=True))
        square = np.zeros(self.grid, np.float32)
        for a, b, c in matrix.astype(np.float32):
            square += (a * dx + b * dy + c * dz) ** 2
        return np.sqrt(square)

    def tube(
        self, along: str, curve: Curve, radius: float, *, jitter: float = 4.0, flat: float = 1.0
    ) -> Field:
        """A field that is < 1 within a tube of `radius` mm through the points of `curve`.

        A point is (z, x, y) of a tube along z and (x, y, z) of a tube along x. `flat` > 1 widens the tube
        along the second of the three.
        """
        a, b, c = {"z": (self.z, self.x, self.y), "x": (self.x, self.y, self.z)}[along]
        knots, first, second = np.asarray(curve, np.float64).T
        first, second = (v + self.random.uniform(-jitter, jitter) for v in (first, second))
        off_b = (b - np.interp(a, knots, first).astype(np.float32)) / np.float32(flat * radius)
        off_c = (c - np.interp(a, knots, second).astype(np.float32)) / np.float32(radius)
        past_end = np.maximum(knots[0] - a, a - knots[-1]).astype(np.float32).clip(0) / np.float32(radius)
        return np.sqrt(off_b**2 + off_c**2 + past_end**2)

    def threads(self, width: float, thickness: float) -> Mask:
        """A web of vessels: where two smooth fields are both near zero."""
        return self.noise(width) ** 2 + self.noise(width) ** 2 < thickness**2

    def paint(self, where: Mask, tissue: str, *, offset: float = 0.0) -> None:
        self.hu[where] = TISSUE_HU[tissue][self.phase] + offset


def paint_surroundings(patient: Patient) -> None:
    """Everything that is no organ of interest; what comes later covers what came before."""
    _paint_trunk(patient)
    _paint_chest(patient)
    _paint_spine(patient)
    _paint_bowel(patient)
    _paint_stomach_and_pancreas(patient)


def _paint_trunk(patient: Patient) -> None:
    fat = patient.random.uniform(9, 26)
    waist = 1 - 0.06 * np.exp(-(((patient.z + 45) / 60) ** 2))
    x, y = np.abs(patient.x / waist), np.abs(patient.y - 4)

    def oval(half_width: float, half_depth: float) -> Field:
        return ((x / half_width) ** 2.4 + (y / half_depth) ** 2.4) ** np.float32(1 / 2.4)

    patient.body = oval(147 + fat, 104 + 0.8 * fat) < 1
    patient.inside = oval(133, 91)
    patient.paint(patient.body, "skin")
    patient.paint(oval(144 + fat, 101 + 0.8 * fat) < 1, "fat")
    patient.paint(oval(146, 103) < 1, "muscle")
    # The middle of the fields of the phantom is fat; the organs are laid into it.
    patient.paint((patient.inside < 1) & ~((np.abs(patient.x) < 75) & (patient.y > 74)), "fat")
    for side in (-1, 1):
        psoas = patient.tube(
            "z", [(-190, side * 62, 30), (-90, side * 42, 40), (25, side * 24, 48)], 19, jitter=2
        )
        patient.paint(psoas < 1, "muscle")


def _paint_chest(patient: Patient) -> None:
    """Lungs above the two domes of the diaphragm, the heart on it, ribs in the wall."""
    random, x, y, z = patient.random, patient.x, patient.y, patient.z
    breath = np.float32(random.uniform(-6, 6))
    right = 122 - 0.009 * (x + 62).clip(0) ** 2
    left = 112 - 0.009 * (68 - x).clip(0) ** 2
    diaphragm = np.maximum(np.maximum(right, left) - 78 * patient.inside**4, 22) + breath
    chest = (patient.inside < 1) & (z > diaphragm)
    # The mediastinum, between the lungs, stays fat.
    lungs = chest & (((np.abs(x - 4) > 26) | (y < 18)) & ((np.abs(x - 4) > 14) | (y > -60)))
    patient.paint(lungs, "lung")
    patient.paint(lungs & patient.threads(26, 0.26), "lung_vessel")
    heart = patient.ellipsoid((24, -40, 142), (66, 44, 42), tilt=(0, 0.25, 0.2)) < 1
    patient.paint(chest & heart, "heart")
    patient.room = (patient.inside < 0.985) & (z < diaphragm - 3)

    angle = np.abs(np.arctan2(x / 133, (y - 4) / 91))
    in_wall = np.abs(patient.inside * 133 - 139) < np.float32(4.6)
    # Ribs run down from the spine to the front; the costal margin leaves the belly free.
    level = z + 46 * angle - 0.5 * np.float32(random.uniform(0, 28))
    offset = np.mod(level, np.float32(28)) - 14
    ribs = (
        in_wall
        & (np.abs(offset) < 5)
        & (angle > 0.35)
        & (angle < 2.75)
        & (z > 28 * (angle - 1.6) ** 2 * 2 - 30)
    )
    patient.paint(ribs, "bone", offset=120)


def _paint_spine(patient: Patient) -> None:
    x, y, z = patient.x, patient.y, patient.z
    lordosis = 58 - 7 * np.cos((z + 60) / 75)
    back = y - lordosis
    inside = (x / 23) ** 2 + (back / 17) ** 2
    level = np.mod(z + np.float32(patient.random.uniform(0, 36)), np.float32(36))
    patient.paint(inside < 1.0, "cortical_bone", offset=-150)
    patient.paint(inside < 0.72, "bone")
    patient.paint((inside < 0.95) & (level < 9), "disc")
    arch = (x / 17) ** 2 + ((back - 26) / 15) ** 2 < 1
    spinous = (np.abs(x) < 4.5) & (back > 34) & (back < 58) & (level > 10) & (level < 30)
    transverse = (np.abs(back - 24) < 5) & (np.abs(x) < 44) & (np.abs(level - 20) < 6)
    patient.paint((arch | spinous | transverse) & (inside > 1), "bone", offset=110)
    patient.paint((x / 11) ** 2 + ((back - 25) / 9) ** 2 < 1, "canal")


def _paint_bowel(patient: Patient) -> None:
    """Colon as a frame, loops of small bowel within; gas rises to the front."""
    random = patient.random
    loops = patient.noise(30)
    front = ((patient.x - 8) / 88) ** 2 + ((patient.y + 36) / 46) ** 2
    belly = (front + ((patient.z + 110) / 98) ** 4 < 1) & patient.room
    patient.paint(belly & (loops > -0.55), "bowel")
    patient.paint(belly & (loops > 0.65), "stomach")
    patient.paint(belly & (loops > 1.2) & (patient.y < -48), "gas")
    frames = (
        patient.tube("z", [(-190, -88, 0), (-90, -100, 2), (-42, -96, -8)], random.uniform(17, 23)),
        patient.tube("z", [(-190, 92, 12), (-60, 108, 16), (18, 104, 6)], random.uniform(14, 19)),
        patient.tube("x", [(-92, -40, -40), (0, -68, -52), (92, -32, 8)], random.uniform(15, 20)),
    )
    content = patient.noise(18)
    for colon in frames:
        patient.paint((colon < 1) & patient.room, "bowel")
        patient.paint((colon < 0.85) & patient.room, "stool")
        patient.paint((colon < 0.85) & (content > 0.5) & patient.room, "gas")


def _paint_stomach_and_pancreas(patient: Patient) -> None:
    stomach = patient.ellipsoid((56, -36, 46), (42, 38, 52), tilt=(0.25, 0.3, 0), jitter=6, vary=0.15)
    patient.paint((stomach < 1) & patient.room, "stomach_wall")
    patient.paint((stomach < 0.87) & patient.room, "stomach")
    level = -38 - 36 * np.float32(patient.random.uniform(0.1, 0.6))
    patient.paint((stomach < 0.87) & (patient.y < level) & patient.room, "gas")
    pancreas = patient.tube(
        "x", [(-30, -2, -18), (-8, -8, -4), (22, -4, 10), (58, 16, 20), (80, 26, 28)], 10.5, flat=1.1
    )
    patient.paint((pancreas < 1) & (patient.noise(14) > -1.1), "pancreas")


def paint_organs(patient: Patient) -> dict[str, Mask]:
    """The organs of interest; where two of them meet, the later one covers the earlier."""
    vena_cava = patient.tube(
        "z", [(-190, -20, 26), (-60, -22, 24), (60, -24, 18), (140, -20, 4)], 10.5, flat=1.2
    )
    patient.paint((vena_cava < 1) & (patient.inside < 1), "vena_cava")
    right, left = _Kidney(patient, side=-1), _Kidney(patient, side=1)
    patient.room &= ~(right.capsule | left.capsule)
    return {
        "liver": _paint_liver(patient),
        "spleen": _paint_spleen(patient),
        "right_kidney": right.paint(patient),
        "left_kidney": left.paint(patient),
        "aorta": _paint_aorta(patient),
        "gallbladder": _paint_gallbladder(patient),
    }


def _paint_liver(patient: Patient) -> Mask:
    right = patient.ellipsoid((-72, -8, 42), (64, 78, 74), jitter=5, vary=0.06, tilt=(0, 0.2, 0))
    left = patient.ellipsoid((12, -46, 62), (70, 30, 34), jitter=6, vary=0.12, tilt=(0, -0.15, 0.1))
    # A soft union: the lobes grow into each other.
    surface = -np.log(np.exp(-9 * right) + np.exp(-9 * left)) / 9
    liver = (surface + 0.035 * patient.noise(30) < 1) & patient.room
    patient.paint(liver, "liver", offset=patient.random.uniform(-9, 9))
    patient.paint(liver & patient.threads(38, 0.2), "liver_vessel")
    for _ in range(patient.random.integers(0, 4)):
        centre = patient.random.uniform((-110, -50, 0), (-30, 40, 90))
        lesion = patient.ellipsoid(centre, np.full(3, patient.random.uniform(6, 13)))
        patient.paint(liver & (lesion < 1), "lesion")
    return liver


def _paint_spleen(patient: Patient) -> Mask:
    body = patient.ellipsoid((96, 30, 40), (36, 48, 54), jitter=4, vary=0.1, tilt=(0.35, 0.1, 0.15))
    dent = patient.ellipsoid((60, 4, 42), (29, 34, 70), jitter=3)
    spleen = (body + 0.04 * patient.noise(24) < 1) & (dent > 1) & patient.room
    patient.paint(spleen, "spleen", offset=patient.random.uniform(-6, 6))
    if patient.phase == 1:
        # In the arterial phase the spleen lights up in stripes.
        patient.hu[spleen] += 22 * patient.noise(17)[spleen]
    return spleen


class _Kidney:
    """`side` is -1 for the right and 1 for the left kidney, which lies higher."""

    def __init__(self, patient: Patient, side: int) -> None:
        random = patient.random
        middle = np.array((side * 66, 44, -24 if side < 0 else -8)) + random.uniform(-5, 5, 3)
        radii = np.array((26, 29, 50)) * random.uniform(0.92, 1.1, 3)
        tilt = np.array((-0.15, side * 0.2, side * -0.45)) + random.uniform(-0.08, 0.08, 3)
        still = {"jitter": 0.0, "vary": 0.0, "wobble": 0.0}
        self.body = patient.ellipsoid(middle, radii, tilt=tilt, **still)
        self.capsule = patient.ellipsoid(middle, radii + 5, tilt=tilt, **still) < 1
        self.hilum = patient.ellipsoid(middle + np.array((side * -22, -12, 0)), (17, 13, 17), jitter=2)

    def paint(self, patient: Patient) -> Mask:
        patient.paint(self.capsule & (patient.inside < 0.97), "fat")
        kidney = (self.body + 0.025 * patient.noise(20) < 1) & (self.hilum > 1)
        patient.paint(kidney, "kidney_cortex")
        patient.paint(kidney & (self.body < 0.72) & (patient.noise(13) > -0.5), "kidney_medulla")
        patient.paint((self.hilum < 1) & (self.body < 1), "fat", offset=30)
        return kidney


def _paint_aorta(patient: Patient) -> Mask:
    """Down to where it divides; the two branches are painted but not labelled."""
    random = patient.random
    radius = random.uniform(10, 12.5)
    bend = random.uniform(-5, 5)
    fork = random.uniform(-118, -104)
    curve = [(fork, 8, 26), (-40, 12 + bend, 24), (50, 12 - bend / 2, 26), (190, 16, 32)]
    aorta = (patient.tube("z", curve, radius, jitter=3) < 1) & (patient.z > fork)
    patient.paint(aorta, "aorta")
    for side in (-1, 1):
        branch = patient.tube(
            "z", [(-200, 8 + side * 52, 16), (fork, 8 + side * 7, 26)], 0.66 * radius, jitter=2
        )
        patient.paint((branch < 1) & (patient.z <= fork), "aorta")
    return aorta


def _paint_gallbladder(patient: Patient) -> Mask:
    belly = patient.ellipsoid((-50, -52, -6), (12.5, 14.5, 21), jitter=4, vary=0.05, tilt=(0.5, 0.1, 0))
    bag = (belly < 1) & (patient.inside < 0.97)
    wall = (belly < 1.18) & (patient.inside < 0.97)
    patient.paint(wall & (patient.hu < 0), "bowel")
    patient.paint(bag, "gallbladder")
    return bag


def _spline_basis(length: int, knots: float) -> Field:
    """(length, coefficients) uniform cubic B-splines, `knots` of them per length."""
    position = np.arange(length) * (knots / length)
    distance = np.abs(position[:, None] - np.arange(-1, np.ceil(knots) + 2))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clip(0) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def _rotation(angles: ArrayLike) -> NDArray[np.float64]:
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
