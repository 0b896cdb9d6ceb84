"""A tree from data: ``python examples/lessons/02_tree.py MOUNTPOINT``."""

import csv
import io

from triofuse import Directory, File, SymbolicLink, Tree, main

PLANETS = """\
name,radius,moons
Earth,6371 km,Moon
Mars,3390 km,Phobos Deimos
Venus,6052 km,
"""


def make() -> Tree:
    """Show the planets as directories."""
    root, moons = Directory(), Directory()
    for row in csv.DictReader(io.StringIO(PLANETS)):
        planet = root[row["name"]] = Directory({"radius": row["radius"] + "\n"})
        for name in row["moons"].split():
            moon = File(f"a moon of {row['name']}\n")
            planet[name] = moon
            moons[name] = moon  # a second name of the same inode: a hard link
    root["moons"] = moons
    root["home"] = SymbolicLink("Earth")
    return Tree(root)


if __name__ == "__main__":
    main(make)
