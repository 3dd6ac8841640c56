"""Rebuild assets/tasks from two Debian packages: tuxpaint-stamps-default and dataset-fashion-mnist.

    apt-get install tuxpaint-stamps-default dataset-fashion-mnist
    python assets/build_samples.py
"""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from vpt_core.tasks.builtin import ASSETS, FASHION_CLASSES, FASHION_POOL, FASHION_SIZE, FASHION_TEST  # noqa: E402

STAMPS = Path("/usr/share/tuxpaint/stamps")
FASHION = Path("/usr/share/datasets/fashion-mnist")

STAMP_SIZE, STAMP_EDGE = 160, 6  # pixels a side, and white pixels left around the thing
LARGEST_ZOOM = 2.0  # small stamps are enlarged, but not until they are a blur

# Photographs only, looked at one by one; drawings, faded cut-outs and mirrored copies are left out.
CHOSEN = {
    "birds": """animals/birds: adelaide-rosella blackbird chicken_profile crow crowned_crane cuckoo drake duck gander
        guineafowl helmeted_guineafowl hen heron_greatblue heron_greatblue_flying lark little-penguin magellanic_penguin
        magpie nandou ostrich owl peacock pelican penguin pigeon pink_flamingo quetzal rainbow-lorikeet rooster seagull
        silver-gull tucan turkey vulture""",
    "hoofed animals": """animals/mammals/bovines: bison bull cow cow_white gnu-baby-stand gnu-baby gnu-sitting gnu-stand goat
        indian_blackbuck mountaingoat ram sheep sheep_lamb yak zebu
        animals/mammals/camel: camel dromedary animals/mammals/deer: caribou deer doe wapiti
        animals/mammals/equines: donkey donkey_eating horse zebra animals/mammals: giraffe""",
    "animals with paws": """animals/mammals/bears: bear european-bear animals/mammals/cats: lion-2 lion tiger tiger_sumatran
        animals/mammals/dogs: dingo dog fox animals/mammals: badger ferret rabbit_little
        animals/mammals/rodents: beaver capybara marmot mouse rabbit-2 rabbit rat squirrel
        animals/mammals/aquatic: otter animals/marsupials: kangaroo koala wombat""",
    "sea animals": """animals/fish: bluegroper butterflyfish clownfish coraltrout dolphinfish lionfish lobster moonwrasse
        seahorse stripedfish animals/mammals/aquatic: dolphin orca sea_lion whale""",
    "fruit": """food/fruit: Apricot_whole Cherry_Stella Strawberry2 apple_fuji apple_granny_smith apple_green apple_red
        apple_sierra_beauty apricot avocado banana cherimoya grapes kiwi lemon mandarine mango orange orange_seville pear
        pineapple pomegranate raspberry sliced_lime sliced_orange strawberry plants/trees: rambutan""",
    "vegetables": """food/vegetables: broccoli carrot chilepepper corn eggplant garlic garlics lettuce mushroom onion
        pattypan_squash pepper potato pumpkin_small redlettuce tomato yam yellowpepper food/spices: ginger
        plants/mushrooms: cep-1 cep-2 cep""",
    "flowers": """plants/flowers: adeenia anemone_red anthoorium appooppanthady bolsom chemparathi daffodil flower1 flower10
        flower2 flower3 flower4 flower5 flower6 flower7 flower8 flower9 iris marigold pigface red-gazania rose
        whitestar-petunia yellow-flower plants/flowers/plastic: chuvanna_plastic_poo""",
    "vehicles": """vehicles/auto: beetle sedan sportscar2 truck vehicles/construction: dumper vehicles/cycle: pink_tricycle
        vehicles/emergency: firetruck vehicles/flight: balloon360 vehicles/flight/planes: 747
        vehicles: garbagetruck vehicles/masstransit: green_korean_bus vehicles/race: indycar
        vehicles/ship: chineseJunk walnutBoat military/vehicles: bradley f22_raptor infantry-stryker
        household/tools: cementmixer""",
    "household things": """household/tools: hammer mallet_metal measuring_tape paintbrush_large plyers saw spade toolbox wrench
        wrench_adjustable wrench_plumbers household/arttools: scissors_small_closed scissors_small_open
        household/dishes: mug pitcher_small teapot household/dishes/utensils: nutcracker pepper_grinder
        household: Lightbulb garbagecan home_compost_bin kettle key rubberduck toilet wheelie_bin
        hobbies: binoculars camera_35mm""",
}


def chosen(listing: str) -> list[Path]:
    """The files of one class; a word that ends in a colon is the folder of the words after it."""
    files, folder = [], STAMPS
    for word in listing.split():
        if word.endswith(":"):
            folder = STAMPS / word[:-1]
        else:
            files.append(folder / f"{word}.png")
    return files


def on_white(file: Path) -> Image.Image:
    """The thing in a stamp, as large as fits, in the middle of a white square of STAMP_SIZE."""
    stamp = Image.open(file).convert("RGBA")
    stamp = stamp.crop(stamp.getchannel("A").getbbox())
    zoom = min(LARGEST_ZOOM, (STAMP_SIZE - 2 * STAMP_EDGE) / max(stamp.size))
    stamp = stamp.resize([max(1, round(zoom * side)) for side in stamp.size], Image.Resampling.LANCZOS)
    square = Image.new("RGB", (STAMP_SIZE, STAMP_SIZE), "white")
    square.paste(stamp, [(STAMP_SIZE - side) // 2 for side in stamp.size], stamp)
    return square


def build_stamps(target: Path) -> None:
    for name, listing in CHOSEN.items():
        (target / name).mkdir(parents=True)
        for file in chosen(listing):
            on_white(file).save(target / name / f"{file.stem}.jpg", quality=85)


def fashion_part(part: str, each: int) -> np.ndarray:
    """(10, each, 28, 28) uint8: images of every class drawn from one official part of Fashion-MNIST."""
    images = np.frombuffer(gzip.decompress((FASHION / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((FASHION / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    images = images.reshape(-1, FASHION_SIZE, FASHION_SIZE)
    rng = np.random.default_rng(0)
    drawn = [np.sort(rng.choice(np.flatnonzero(labels == k), each, replace=False)) for k in range(len(FASHION_CLASSES))]
    return np.stack([images[of_class] for of_class in drawn])


def build_fashion(target: Path) -> None:
    target.mkdir(parents=True)
    grid = np.concatenate([fashion_part("train", FASHION_POOL), fashion_part("t10k", FASHION_TEST)], axis=1)
    sheet = grid.swapaxes(1, 2).reshape(len(FASHION_CLASSES) * FASHION_SIZE, -1)
    Image.fromarray(sheet).save(target / "sheet.png", optimize=True)


def main() -> None:
    for name, build in (("stamps", build_stamps), ("fashion", build_fashion)):
        licence = (ASSETS / name / "LICENCE.md").read_text(encoding="utf-8")
        shutil.rmtree(ASSETS / name)
        build(ASSETS / name)
        (ASSETS / name / "LICENCE.md").write_text(licence, encoding="utf-8")


if __name__ == "__main__":
    main()
