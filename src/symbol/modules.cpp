// SPDX-License-Identifier: Apache-2.0
#include "symbol/modules.hpp"

#include "symbol/memory.hpp"
#include "sys/file.hpp"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>

#include <atomic>

namespace sigrun::symbol {
namespace {

// How often the loader has added and removed modules.
struct loader_state {
  unsigned long long loads = 0;
  unsigned long long unloads = 0;
};

struct table : loader_state {
  std::atomic<std::uint32_t> readers;
  std::size_t count = 0;
  module_view rows[modules_max];
};

// Mapped by the first refresh: a program that never asks has none. Three, so that one whose reader
// never comes back, as in a child of fork, still leaves two to change between.
constexpr std::size_t tables_max = 3;
constinit table* tables = nullptr;
constinit std::atomic<table*> current{nullptr};
constinit std::atomic<bool> refreshing{false};

// The table that is in use, which stays as it is while this lives. Counted in first, and then
// looked at again: who refreshes has published another one before it looks for readers.
class reading {
 public:
  reading() noexcept {
    // A table is left behind once for each change of the loader's; who meets that so often asks
    // the loader itself.
    constexpr int tries = 8;
    for (int i = 0; i < tries; ++i) {
      table* const now = current.load();
      if (now == nullptr) return;
      now->readers.fetch_add(1);
      if (current.load() == now) {
        table_ = now;
        return;
      }
      now->readers.fetch_sub(1);
    }
  }
  ~reading() {
    if (table_ != nullptr) table_->readers.fetch_sub(1);
  }
  reading(const reading&) = delete;
  reading& operator=(const reading&) = delete;

  const module_view* begin() const noexcept { return table_ != nullptr ? table_->rows : nullptr; }
  const module_view* end() const noexcept {
    return table_ != nullptr ? table_->rows + table_->count : nullptr;
  }

 private:
  table* table_ = nullptr;
};

// nullptr: all of them are being read.
table* free_table(const table* shown) noexcept {
  for (std::size_t i = 0; i < tables_max; ++i) {
    if (tables + i != shown && tables[i].readers.load() == 0) return tables + i;
  }
  return nullptr;
}

void copy_path(module_view& to, const char* text) noexcept {
  std::size_t size = 0;
  for (; size + 1 < path_room && text[size] != '\0'; ++size) to.path[size] = text[size];
  to.path[size] = '\0';
  to.cut = text[size] != '\0';
}

void own_path(module_view& to) noexcept {
  const long size = sys::call(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", to.path, path_room - 1);
  to.path[sys::failed(size) ? 0 : size] = '\0';
}

int note_state(dl_phdr_info* info, std::size_t, void* arg) noexcept {
  auto& to = *static_cast<loader_state*>(arg);
  to.loads = info->dlpi_adds;
  to.unloads = info->dlpi_subs;
  return 1;
}

int add_row(dl_phdr_info* info, std::size_t size, void* arg) noexcept {
  auto& to = *static_cast<table*>(arg);
  note_state(info, size, static_cast<loader_state*>(&to));
  if (to.count == modules_max) return 1;
  module_view row;
  row.bias = info->dlpi_addr;
  row.begin = UINT64_MAX;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& p = info->dlpi_phdr[i];
    const std::uint64_t at = row.bias + p.p_vaddr;
    if (p.p_type == PT_LOAD) {
      if (at < row.begin) row.begin = at;
      if (at + p.p_memsz > row.end) row.end = at + p.p_memsz;
    } else if (p.p_type == PT_GNU_EH_FRAME) {
      row.eh_frame_hdr = at;
    } else if (p.p_type == PT_NOTE && row.build_id_size == 0) {
      read_build_id(row, reinterpret_cast<const char*>(at), p.p_filesz);
    }
  }
  if (row.begin >= row.end) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& p = info->dlpi_phdr[i];
    const std::uint64_t at = row.bias + p.p_vaddr;
    if (p.p_type != PT_LOAD || row.eh_frame_hdr < at || row.eh_frame_hdr >= at + p.p_filesz) {
      continue;
    }
    row.tables_begin = at;
    row.tables_end = at + p.p_filesz;
  }
  if (info->dlpi_name == nullptr || info->dlpi_name[0] == '\0') {
    own_path(row);
  } else {
    copy_path(row, info->dlpi_name);
  }
  to.rows[to.count++] = row;
  return 0;
}

bool find_by_loader(std::uint64_t pc, module_view& out) noexcept {
  dl_find_object found;
  if (_dl_find_object(reinterpret_cast<void*>(pc), &found) != 0) return false;
  out = module_view{};
  out.begin = reinterpret_cast<std::uint64_t>(found.dlfo_map_start);
  out.end = reinterpret_cast<std::uint64_t>(found.dlfo_map_end);
  out.eh_frame_hdr = reinterpret_cast<std::uint64_t>(found.dlfo_eh_frame);
  out.tables_begin = out.begin;
  out.tables_end = out.end;
  memory look;
  const auto map = reinterpret_cast<std::uint64_t>(found.dlfo_link_map);
  if (map == 0 || !look.covers(map, sizeof(link_map))) return true;
  out.bias = found.dlfo_link_map->l_addr;
  const char* const name = found.dlfo_link_map->l_name;
  if (name == nullptr || !look.covers(reinterpret_cast<std::uint64_t>(name), 1)) return true;
  if (name[0] == '\0') {
    own_path(out);
  } else if (look.covers(reinterpret_cast<std::uint64_t>(name), path_room)) {
    copy_path(out, name);
  }
  return true;
}

}  // namespace

// A note is name size, descriptor size, type, name, descriptor, each padded to four bytes.
void read_build_id(module_view& to, const char* notes, std::size_t size) noexcept {
  constexpr std::size_t head = 12;
  for (std::size_t at = 0; at + head <= size;) {
    std::uint32_t words[3];
    __builtin_memcpy(words, notes + at, head);
    const std::size_t name = (std::size_t{words[0]} + 3) & ~std::size_t{3};
    const std::size_t desc = (std::size_t{words[1]} + 3) & ~std::size_t{3};
    if (name > size - at - head || desc > size - at - head - name) return;
    const char* const text = notes + at + head;
    const bool gnu = words[0] == 4 && text[0] == 'G' && text[1] == 'N' && text[2] == 'U';
    if (gnu && words[2] == NT_GNU_BUILD_ID) {
      to.build_id_size =
          static_cast<std::uint8_t>(words[1] < sizeof to.build_id ? words[1] : sizeof to.build_id);
      __builtin_memcpy(to.build_id, text + name, to.build_id_size);
      return;
    }
    at += head + name + desc;
  }
}

void refresh_modules() noexcept {
  if (refreshing.exchange(true)) return;
  if (tables == nullptr) {
    const long mapped = sys::call(SYS_mmap, nullptr, tables_max * sizeof(table),
                                  PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!sys::failed(mapped)) tables = reinterpret_cast<table*>(mapped);
  }
  const table* const shown = current.load();
  loader_state state;
  if (shown != nullptr) dl_iterate_phdr(&note_state, &state);
  const bool same =
      shown != nullptr && shown->loads == state.loads && shown->unloads == state.unloads;
  table* const fresh = tables != nullptr && !same ? free_table(shown) : nullptr;
  if (fresh != nullptr) {
    fresh->count = 0;
    dl_iterate_phdr(&add_row, fresh);
    current.store(fresh);
  }
  refreshing.store(false);
}

bool find_module(std::uint64_t pc, module_view& out) noexcept {
  for (const module_view& row : reading{}) {
    if (pc < row.begin || pc >= row.end) continue;
    out = row;
    return true;
  }
  return find_by_loader(pc, out);
}

void for_each_module(bool (*visit)(void* arg, const module_view& row), void* arg) noexcept {
  for (const module_view& row : reading{}) {
    if (!visit(arg, row)) return;
  }
}

}  // namespace sigrun::symbol
