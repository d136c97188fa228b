"""A stand-in for small NORB: five classes of toys, rendered.

As in NORB a class has ten toys, five for training and five for testing, each seen from 9
elevations and 18 azimuths under 6 lightings by two cameras. A toy is put together from
ellipsoids and boxes of random proportions; a ray parallel to the view meets both in closed
form.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

# In NORB's order and with its split of the toys.
CLASSES = ("animal", "human", "airplane", "truck", "car")
TRAIN_TOYS, TEST_TOYS = (4, 6, 7, 8, 9), (0, 1, 2, 3, 5)
ELEVATIONS = np.deg2rad(np.arange(30, 75, 5))
AZIMUTHS = np.deg2rad(np.arange(0, 360, 20))
# Lights: azimuth from the cameras, elevation, strength; and the strength of diffuse light.
LIGHTS = np.array([
    (-60, 40, 0.6), (60, 40, 0.6), (0, 30, 0.7), (180, 60, 0.8), (0, 85, 0.5), (-120, 35, 0.7)
])
DIFFUSE = np.array([0.4, 0.4, 0.3, 0.35, 0.45, 0.3])
STEREO = np.deg2rad(7)
SIZE = 32
# Rays a pixel, each way.
RAYS = 2
# Half the side of the image; toys have a radius of about one.
FIELD = 1.05
# Reflected shares of light. On a bright ground the mean of the inputs would hide the toys
# from a network whose inputs are not centred.
TOY, GROUND = 0.9, 0.3
NOISE = 0.02


class Solid(NamedTuple):
    """A box, or an ellipsoid: its centre, half its axes, and how it is turned."""

    is_box: bool
    centre: np.ndarray
    axes: np.ndarray
    turn: np.ndarray


def ellipsoid(centre, axes, roll=0, pitch=0, yaw=0):
    turn = Rotation.from_euler("xyz", (roll, pitch, yaw)).as_matrix()
    return Solid(False, np.array(centre, float), np.array(axes, float), turn)


def box(centre, axes, roll=0, pitch=0, yaw=0):
    return ellipsoid(centre, axes, roll, pitch, yaw)._replace(is_box=True)


def norb_like(train_toys=TRAIN_TOYS, test_toys=TEST_TOYS, elevations=ELEVATIONS, seed=0):
    """X_train, y_train, X_test, y_test: (n, 2, 32, 32) bytes, rows shuffled in each part."""
    parts = []
    for toys in (train_toys, test_toys):
        rng = np.random.default_rng([seed, *toys])
        images = np.concatenate([
            render(toy(label, number, seed), elevation, rng)
            for label in range(len(CLASSES))
            for number in toys
            for elevation in elevations
        ])
        labels = np.repeat(np.arange(len(CLASSES)), len(images) // len(CLASSES))
        order = rng.permutation(len(labels))
        parts += [images[order], labels[order]]
    return parts


# ---- toys: x is ahead, y left, z up ------------------------------------------------------


def toy(label, number, seed=0):
    """The solids of a toy, standing on the ground, of a radius of about one."""
    rng = np.random.default_rng([seed, 1 + label, 1 + number])
    solids = (animal, human, airplane, truck, car)[label](rng.uniform)
    reach = [extent(solid) for solid in solids]
    low = np.min([s.centre - r for s, r in zip(solids, reach, strict=True)], axis=0)
    high = np.max([s.centre + r for s, r in zip(solids, reach, strict=True)], axis=0)
    scale = rng.uniform(0.85, 1.05) / (np.linalg.norm(high - low) / 2)
    middle, heading = (low + high) / 2, Rotation.from_euler("z", rng.uniform(0, 2 * np.pi))
    heading = heading.as_matrix()
    return [
        Solid(s.is_box, scale * heading @ (s.centre - middle), scale * s.axes, heading @ s.turn)
        for s in solids
    ]


def extent(solid):
    """Half the size along each axis."""
    reach = solid.turn * solid.axes
    return np.abs(reach).sum(1) if solid.is_box else np.linalg.norm(reach, axis=1)


def animal(draw):
    length, girth, leg = draw(0.7, 1.0), draw(0.22, 0.42), draw(0.35, 0.75)
    stride, thick, neck = draw(-0.4, 0.4), draw(0.07, 0.13), draw(0.1, 0.6)
    head = draw(0.16, 0.28)
    top = (length + neck * draw(0.2, 0.8), 0, leg + girth + neck)
    solids = [
        ellipsoid((0, 0, leg + girth * 0.6), (length, girth, girth * draw(0.8, 1.1))),
        ellipsoid(top, (head * draw(1.2, 1.8), head * 0.8, head), pitch=draw(0, 0.6)),
        ellipsoid(
            (length * 0.85 + neck * 0.2, 0, leg + girth * 0.7 + neck / 2),
            (girth * 0.6, girth * 0.45, neck / 2 + girth * 0.6), pitch=draw(0.2, 0.6),
        ),
        ellipsoid(
            (-length, 0, leg + girth * 0.6), (draw(0.2, 0.5), 0.06, 0.06), pitch=draw(-0.9, 0.5)
        ),
    ]
    for end in (-1, 1):
        for side in (-1, 1):
            centre = (0.65 * length * end, 0.6 * girth * side, leg / 2)
            axes = (thick, thick, leg / 2 + girth * 0.3)
            solids.append(ellipsoid(centre, axes, pitch=stride * end * side))
    return solids


def human(draw):
    leg, torso, shoulder = draw(0.7, 0.95), draw(0.36, 0.46), draw(0.24, 0.38)
    stride, swing, raised, thick = draw(0, 0.5), draw(-0.8, 0.8), draw(0.1, 1.3), draw(0.08, 0.12)
    head = draw(0.15, 0.21)
    solids = [
        ellipsoid((0, 0, leg + torso * 0.8), (shoulder * 0.6, shoulder, torso)),
        ellipsoid((0, 0, leg + 1.8 * torso + head), (head, head * 0.9, head * 1.2)),
    ]
    for side in (-1, 1):
        solids.append(ellipsoid(
            (stride * leg / 2 * side, 0.5 * shoulder * side, leg / 2),
            (thick * 1.2, thick * 1.2, leg / 2 + 0.1), pitch=-stride * side,
        ))
        out, reach = raised * draw(0.7, 1.3), leg * 0.45
        hand = np.array((np.sin(swing * side), np.sin(out) * side, -np.cos(out)))
        solids.append(ellipsoid(
            np.array((0, shoulder * side, leg + 1.4 * torso)) + reach * 0.8 * hand,
            (thick, thick, reach), roll=out * side, pitch=-swing * side,
        ))
    return solids


def airplane(draw):
    thick, span, chord = draw(0.1, 0.18), draw(0.7, 1.1), draw(0.14, 0.28)
    sweep, tilt, at, tail = draw(0, 0.6), draw(-0.1, 0.2), draw(-0.1, 0.25), draw(0.25, 0.4)
    height = draw(-0.8, 0.8) * thick
    solids = [
        ellipsoid((0, 0, 0), (1, thick, thick * draw(0.9, 1.2))),
        box((-0.88, 0, tail / 2 + thick / 2), (chord * 0.5, 0.025, tail / 2), pitch=-0.3),
        ellipsoid((-0.88, 0, draw(0, 1) * tail), (chord * 0.6, tail, 0.03)),
    ]
    engine = draw(0, 1)
    for side in (-1, 1):
        out = span / 2 * side
        centre = (at - abs(out) * np.sin(sweep), out, height + tilt * abs(out))
        axes = (chord, span / 2, 0.035)
        solids.append(ellipsoid(centre, axes, roll=tilt * side, yaw=sweep * side))
        if engine > 0.4:
            centre = (at, 0.4 * span * side, height - 0.08)
            solids.append(ellipsoid(centre, (0.2, 0.07, 0.07)))
    return solids


def wheels(draw, positions, width):
    radius = draw(0.13, 0.2)
    return [
        ellipsoid((x, side * width, radius), (radius, 0.06, radius))
        for x in positions
        for side in (-1, 1)
    ], radius


def truck(draw):
    width, cab, load = draw(0.3, 0.4), draw(0.2, 0.3), draw(0.55, 0.75)
    solids, radius = wheels(draw, (load + cab * 0.8, -0.1, -load * 0.8), width * 0.9)
    floor, cab_height, load_height = 0.8 * radius, draw(0.22, 0.36), draw(0.15, 0.45)
    solids += [
        box((load + cab, 0, floor + cab_height), (cab, width * 0.95, cab_height)),
        box((0, 0, floor), (load + cab, width * 0.7, 0.06)),
    ]
    axes, kind = (load * 0.97, width, load_height), draw(0, 1)
    if kind < 0.65:
        solids.append(box((0, 0, floor + load_height), axes))
    else:
        solids.append(ellipsoid((0, 0, floor + load_height), axes))
    return solids


def car(draw):
    width, length, low = draw(0.36, 0.46), draw(0.85, 1.0), draw(0.12, 0.19)
    solids, radius = wheels(draw, (0.6 * length, -0.6 * length), width * 0.92)
    floor, cabin, roof = radius + low * 0.6, draw(0.4, 0.6), draw(0.14, 0.24)
    solid = box if draw(0, 1) < 0.4 else ellipsoid
    stretch = 1 if solid is box else 1.3
    at = draw(-0.25, 0.05)
    solids += [
        box((0, 0, floor), (length, width, low)),
        solid((at, 0, floor + low + roof * 0.8), (cabin * stretch, width * 0.85, roof * stretch)),
        ellipsoid((draw(0.5, 0.7) * length, 0, floor + low), (0.4 * length, width * 0.9, 0.06)),
    ]
    return solids


# ---- rendering: x is right, y up, z towards the camera -------------------------------------


def render(solids, elevation, rng):
    """(azimuths * lights, 2, 32, 32) bytes."""
    pairs = AZIMUTHS[:, None] + STEREO * np.array([-0.5, 0.5])
    normals, hit = surface(solids, cameras(elevation, pairs.ravel()))
    lights, ground = light_directions(elevation)
    shade = np.maximum(np.einsum("ld,vdp->vlp", lights, normals), 0)
    shade *= LIGHTS[:, 2, None]
    shade += DIFFUSE[:, None]
    plain = GROUND * (DIFFUSE + LIGHTS[:, 2] * np.maximum(lights @ ground, 0))
    shade = np.where(hit[:, None], TOY * shade, plain[:, None])
    shade = shade.reshape(-1, 2, len(LIGHTS), SIZE, RAYS, SIZE, RAYS).mean((4, 6)).swapaxes(1, 2)
    shade += rng.normal(0, NOISE, shape := shade.shape)
    return np.rint(255 * np.clip(shade, 0, 1)).astype(np.uint8).reshape(-1, *shape[2:])


def cameras(elevation, azimuths):
    """(views, 3, 3): rows point right, up and towards the camera."""
    sin, cos, zero = np.sin(azimuths), np.cos(azimuths), np.zeros_like(azimuths)
    s, c = np.sin(elevation), np.cos(elevation)
    rows = [(-sin, cos, zero), (-s * cos, -s * sin, zero + c), (c * cos, c * sin, zero + s)]
    return np.array(rows).transpose(2, 0, 1)


def light_directions(elevation):
    """Directions to the lights, which go round with the camera, and upwards from the ground."""
    around, up = np.deg2rad(LIGHTS[:, :2]).T
    directions = np.column_stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around),
                                  np.sin(up)])
    camera = cameras(elevation, np.zeros(1))[0]
    return (directions @ camera.T).astype(np.float32), camera[:, 2].astype(np.float32)


def surface(solids, cameras):
    """Normals (views, 3, rays) of what the rays meet first, and whether they meet anything."""
    at = FIELD * ((np.arange(SIZE * RAYS) + 0.5) / (SIZE * RAYS) * 2 - 1)
    x, y = np.tile(at, len(at)).astype(np.float32), -np.repeat(at, len(at)).astype(np.float32)
    depth = np.full((len(cameras), len(x)), -np.inf, np.float32)
    normals = np.zeros((len(cameras), 3, len(x)), np.float32)
    for solid in solids:
        centre = (cameras @ solid.centre).astype(np.float32)
        turn = (cameras @ solid.turn).astype(np.float32)
        dx, dy = x - centre[:, :1], y - centre[:, 1:2]
        meet = meet_box if solid.is_box else meet_ellipsoid
        z, normal = meet(dx, dy, turn, solid.axes.astype(np.float32))
        nearness = z + centre[:, 2:]
        view, ray = np.nonzero(nearness > depth)  # never where it is nan
        depth[view, ray] = nearness[view, ray]
        normals[view, :, ray] = normal(view, ray)
    return normals, depth > -np.inf


def meet_ellipsoid(dx, dy, turn, axes):
    """Depths from the centre, nan for a miss, and a function for the normals there.

    With E = turn diag(1 / axes^2) turn^T the surface is p^T E p = 1 and E p is normal to it.
    """
    e = np.einsum("vik,vjk,k->ijv", turn, turn, axes**-2)[..., None]
    half = e[0, 2] * dx + e[1, 2] * dy
    rest = (e[0, 0] * dx + 2 * e[0, 1] * dy) * dx + e[1, 1] * dy**2 - 1
    with np.errstate(invalid="ignore"):
        z = (np.sqrt(half**2 - e[2, 2] * rest) - half) / e[2, 2]

    def normal(view, ray):
        p = np.stack([dx[view, ray], dy[view, ray], z[view, ray]])
        n = np.einsum("ijn,jn->ni", e[..., 0][:, :, view], p)
        return n / np.linalg.norm(n, axis=1, keepdims=True)

    return z, normal


def meet_box(dx, dy, turn, axes):
    """As meet_ellipsoid: a ray enters a box where it has come between all pairs of faces."""
    along = turn[:, 2, :, None]
    along = np.where(np.abs(along) < 1e-6, np.float32(1e-6), along)
    offset = turn[:, 0, :, None] * dx[:, None] + turn[:, 1, :, None] * dy[:, None]
    reach = axes[:, None] / np.abs(along)
    faces = reach - offset / along
    z = faces.min(1)
    z[z < (faces - 2 * reach).max(1)] = np.nan
    face = faces.argmin(1)

    def normal(view, ray):
        hit = face[view, ray]
        return turn[view, :, hit] * np.sign(along[view, hit])

    return z, normal
