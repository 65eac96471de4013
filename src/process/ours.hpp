// SPDX-License-Identifier: Apache-2.0
//
// Which children are the library's own: started by spawn() and not reaped yet. For those who reap
// others, see service/orphans.cpp.
//
// Invariants:
//  (1) A child is listed before spawn() has returned, and as long as `starting` lives nobody can
//      say of a child that it is not ours.
//  (2) It leaves the list after it was reaped, never before.
//  (3) Without memory for the list every child is taken for ours: one zombie too many is better
//      than a status that is stolen.
#pragma once

namespace sigrun::process {

/// While a child is being made.
class starting {
 public:
  explicit starting(bool leads_group) noexcept;
  ~starting();
  starting(const starting&) = delete;
  starting& operator=(const starting&) = delete;
  void made(int pid) noexcept;

 private:
  const bool leads_group_;
};

void note_reaped(int pid) noexcept;

enum class whose { ours, unknown, others };
/// `unknown`: a child is being made just now; ask again.
whose whose_child(int pid) noexcept;

/// Whether this process group, or session, was begun by a child of ours, and still has members.
bool is_our_group(int group) noexcept;
/// Forgets the groups that are empty, whose numbers others may get.
void forget_empty_groups() noexcept;

}  // namespace sigrun::process
