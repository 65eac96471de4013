// SPDX-License-Identifier: Apache-2.0
#include "symbol/names.hpp"

#include "sys/file.hpp"

#include <elf.h>
#include <link.h>
#include <sys/mman.h>

#include <cerrno>

namespace sigrun::symbol {
namespace {

// What was read of a file, by the image's first address.
struct names_of_file {
  std::uint64_t begin = 0;
  const ElfW(Sym) * symbols = nullptr;  // nullptr: there are none to be had
  std::uint64_t count = 0;
  const char* text = nullptr;
  std::uint64_t text_size = 0;
};

struct answer {
  std::uint64_t pc = 0;
  function_name name;
};

constexpr std::size_t files_max = 64;
constexpr std::size_t answers_max = 512;
constinit names_of_file files[files_max] = {};
constinit std::size_t files_used = 0;
constinit answer answers[answers_max] = {};

struct mapped_file {
  const char* bytes = nullptr;
  std::uint64_t size = 0;

  template <class T>
  const T* at(std::uint64_t offset, std::uint64_t count = 1) const noexcept {
    if (offset > size || count > (size - offset) / sizeof(T) || offset % alignof(T) != 0) {
      return nullptr;
    }
    return reinterpret_cast<const T*>(bytes + offset);
  }
};

mapped_file map_file(const char* path) noexcept {
  const long fd = sys::call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
  if (sys::failed(fd)) return {};
  const long size = sys::call(SYS_lseek, fd, 0, SEEK_END);
  long bytes = -ENOENT;
  if (size > 0) bytes = sys::call(SYS_mmap, nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  sys::close(static_cast<int>(fd));
  if (sys::failed(bytes)) return {};
  return {reinterpret_cast<const char*>(bytes), static_cast<std::uint64_t>(size)};
}

bool is_the_same(const module_view& image, const module_view& file) noexcept {
  if (image.build_id_size == 0) return true;
  if (image.build_id_size != file.build_id_size) return false;
  for (std::size_t i = 0; i < image.build_id_size; ++i) {
    if (image.build_id[i] != file.build_id[i]) return false;
  }
  return true;
}

void read_symbols(const module_view& image, const mapped_file& file, names_of_file& out) noexcept {
  const auto* const head = file.at<ElfW(Ehdr)>(0);
  if (head == nullptr || head->e_ident[EI_MAG0] != ELFMAG0 || head->e_ident[EI_MAG1] != ELFMAG1 ||
      head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_shentsize != sizeof(ElfW(Shdr))) {
    return;
  }
  const auto* const sections = file.at<ElfW(Shdr)>(head->e_shoff, head->e_shnum);
  if (sections == nullptr) return;
  const ElfW(Shdr)* table = nullptr;
  module_view identity;
  for (unsigned i = 0; i < head->e_shnum; ++i) {
    const ElfW(Shdr)& s = sections[i];
    if (s.sh_type == SHT_NOTE && identity.build_id_size == 0) {
      const char* const notes = file.at<char>(s.sh_offset, s.sh_size);
      if (notes != nullptr) read_build_id(identity, notes, s.sh_size);
    }
    // The full table if there is one, else what the dynamic linker needs.
    if (s.sh_type == SHT_SYMTAB || (s.sh_type == SHT_DYNSYM && table == nullptr)) table = &s;
  }
  if (table == nullptr || !is_the_same(image, identity) || table->sh_link >= head->e_shnum) return;
  const ElfW(Shdr)& strings = sections[table->sh_link];
  const std::uint64_t count = table->sh_size / sizeof(ElfW(Sym));
  out.text = file.at<char>(strings.sh_offset, strings.sh_size);
  out.text_size = strings.sh_size;
  if (out.text == nullptr || out.text_size == 0 || out.text[out.text_size - 1] != '\0') return;
  out.symbols = file.at<ElfW(Sym)>(table->sh_offset, count);
  out.count = count;
}

const names_of_file* names_of(const module_view& image) noexcept {
  for (std::size_t i = 0; i < files_used; ++i) {
    if (files[i].begin == image.begin) return &files[i];
  }
  if (files_used == files_max || image.path[0] != '/' || image.cut) return nullptr;
  names_of_file& fresh = files[files_used++];
  fresh = names_of_file{};
  fresh.begin = image.begin;
  const mapped_file file = map_file(image.path);
  if (file.bytes == nullptr) return &fresh;
  read_symbols(image, file, fresh);
  if (fresh.symbols == nullptr) sys::call(SYS_munmap, file.bytes, file.size);
  return &fresh;
}

// The symbol that covers `at`; without a size (assembly) the nearest below it.
const ElfW(Sym) * find_symbol(const names_of_file& in, std::uint64_t at) noexcept {
  const ElfW(Sym)* best = nullptr;
  for (std::uint64_t i = 0; i < in.count; ++i) {
    const ElfW(Sym)& s = in.symbols[i];
    const unsigned type = ELF64_ST_TYPE(s.st_info);
    if ((type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) || s.st_shndx == 0 ||
        s.st_name == 0 || s.st_value > at) {
      continue;
    }
    const bool covers = at - s.st_value < s.st_size;
    if (!covers && (s.st_size != 0 || type == STT_NOTYPE)) continue;
    if (best == nullptr || s.st_value > best->st_value) best = &s;
  }
  return best;
}

}  // namespace

bool find_function(const module_view& image, std::uint64_t pc, function_name& out) noexcept {
  answer& known = answers[(pc >> 1) % answers_max];
  if (known.pc != pc || pc == 0) {
    const names_of_file* const file = names_of(image);
    if (file == nullptr || file->symbols == nullptr) return false;
    const ElfW(Sym)* const found = find_symbol(*file, pc - image.bias);
    if (found == nullptr || found->st_name >= file->text_size) return false;
    known.pc = pc;
    known.name = {file->text + found->st_name, pc - image.bias - found->st_value};
  }
  out = known.name;
  return true;
}

}  // namespace sigrun::symbol
