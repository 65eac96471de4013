#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: doctor_ids.sh ROOT. Every id in the doctor's rules has a section in docs/doctor.md and a
# place in the manual page, and no section is of an id that is no longer there.
cd "$1" || exit 2
ids=$(grep -oE '\{"[a-z0-9-]+",( severity| full|$)' cmd/sigrun/doctor_rules.cpp |
  sed 's/.*{"//; s/".*//' | sort -u)
wrong=0
for id in $ids; do
  grep -qx "## $id" docs/doctor.md || { echo "docs/doctor.md has no section '$id'"; wrong=1; }
  sed 's/\\//g' docs/man/sigrun-doctor.1 | grep -qw -- "$id" ||
    { echo "the manual page does not list '$id'"; wrong=1; }
done
sections=$(sed -n 's/^## \([a-z0-9-]*\)$/\1/p' docs/doctor.md)
for id in $sections; do
  echo "$ids" | grep -qx -- "$id" || { echo "docs/doctor.md: no finding '$id' exists"; wrong=1; }
done
[ "$(echo "$ids" | wc -l)" -ge 18 ] || { echo "only these ids were found: $ids"; wrong=1; }
exit $wrong
