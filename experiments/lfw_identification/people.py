"""Copy LFW's people with FEWEST to MOST images: python experiments/lfw_identification/people.py LFW OUT FEWEST MOST"""

import shutil
import sys
from pathlib import Path


def main() -> None:
    """Copy their folders, and say how many there are."""
    root, out, fewest, most = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    people = [folder for folder in sorted(root.iterdir()) if fewest <= len(list(folder.glob("*.jpg"))) <= most]
    for folder in people:
        shutil.copytree(folder, out / folder.name, dirs_exist_ok=True)
    print(f"{len(people):,} people in {out}")


if __name__ == "__main__":
    main()
