#!/bin/bash
# systemd-get.sh DIR: a newer systemd than this Debian's, from its backports, unpacked into DIR for systemd-up.sh. Nothing
# is installed. Prints its version; does nothing when DIR has one.
set -eu
D=$(mkdir -p "$1" && cd "$1" && pwd)
if [ ! -e "$D/lib/systemd/systemd" ]; then
  W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
  mkdir -p "$W/lists/partial" "$W/cache/archives/partial"
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")-backports
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: ${suite%-backports}" | head -1)
  echo "deb $mirror $suite main" >"$W/sources"
  apt=(apt-get -qq -o Dir::Etc::sourcelist="$W/sources" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$W/lists" -o Dir::Cache="$W/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$W" && "${apt[@]}" download -t "$suite" systemd libsystemd-shared libsystemd0)
  for p in "$W"/*.deb; do dpkg -x "$p" "$D"; done
fi
LD_LIBRARY_PATH="$D/lib/x86_64-linux-gnu:$D/lib/x86_64-linux-gnu/systemd:$D/usr/lib/x86_64-linux-gnu:$D/usr/lib/x86_64-linux-gnu/systemd" \
  "$D/lib/systemd/systemd" --version | head -1
