// SPDX-License-Identifier: Apache-2.0
#include "symbols.hpp"

#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

namespace sigrun::symbolize {
namespace {

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> words(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  return words != nullptr ? without_parameters(words.get()) : name;
}

std::string name_of(Dwarf_Die* die) {
  Dwarf_Attribute attribute;
  for (const unsigned which : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
    if (dwarf_attr_integrate(die, which, &attribute) == nullptr) continue;
    if (const char* const text = dwarf_formstring(&attribute)) return demangled(text);
  }
  const char* const plain = dwarf_diename(die);
  return plain != nullptr ? plain : "";
}

bool is_code(Dwarf_Die* die) {
  const int tag = dwarf_tag(die);
  return tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine;
}

// No code of its own, and yet around code's: clang writes a function where it was declared.
bool is_surrounding(Dwarf_Die* die, bool in_functions) {
  switch (dwarf_tag(die)) {
    case DW_TAG_namespace:
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
      return true;
    case DW_TAG_subprogram:  // of a local class
    case DW_TAG_lexical_block:
      return in_functions;
    default:
      return false;
  }
}

// The function at `pc` below `from` and the calls that were inlined there, the outermost first.
// dwarf_getscopes() looks into nothing that has no addresses.
bool find_code(Dwarf_Die* from, Dwarf_Addr pc, bool in_functions, std::vector<Dwarf_Die>& out) {
  Dwarf_Die die;
  if (dwarf_child(from, &die) != 0) return false;
  do {
    if (dwarf_haspc(&die, pc) == 1) {
      if (is_code(&die)) out.push_back(die);
      find_code(&die, pc, in_functions, out);
      return true;
    }
    if (is_surrounding(&die, in_functions) && find_code(&die, pc, in_functions, out)) return true;
  } while (dwarf_siblingof(&die, &die) == 0);
  return false;
}

int number_of(Dwarf_Die* die, unsigned which) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  if (dwarf_attr(die, which, &attribute) == nullptr) return 0;
  return dwarf_formudata(&attribute, &value) == 0 ? static_cast<int>(value) : 0;
}

// Where the inlined call `die` was written.
void call_site(Dwarf_Die* unit, Dwarf_Die* die, place& out) {
  Dwarf_Files* files = nullptr;
  std::size_t count = 0;
  const auto file = static_cast<std::size_t>(number_of(die, DW_AT_call_file));
  out.line = number_of(die, DW_AT_call_line);
  if (dwarf_getsrcfiles(unit, &files, &count) != 0 || file >= count) return;
  if (const char* const text = dwarf_filesrc(files, file, nullptr, nullptr)) out.file = text;
}

std::string hex(const unsigned char* bytes, int size) {
  std::string text;
  for (int i = 0; i < size; ++i) {
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return text;
}

char* debug_path = nullptr;  // the default: beside the file, and /usr/lib/debug
const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = &debug_path,
};

}  // namespace

class file_symbols {
 public:
  explicit file_symbols(const std::string& path) : dwfl_(dwfl_begin(&callbacks)) {
    if (dwfl_ == nullptr) return;
    dwfl_report_begin(dwfl_);
    module_ = dwfl_report_offline(dwfl_, path.c_str(), path.c_str(), -1);
    dwfl_report_end(dwfl_, nullptr, nullptr);
    if (module_ != nullptr) dwfl_module_getelf(module_, &bias_);
  }
  ~file_symbols() { dwfl_end(dwfl_); }
  file_symbols(const file_symbols&) = delete;
  file_symbols& operator=(const file_symbols&) = delete;

  explicit operator bool() const { return module_ != nullptr; }

  std::string build_id() const {
    const unsigned char* bytes = nullptr;
    GElf_Addr at = 0;
    const int size = dwfl_module_build_id(module_, &bytes, &at);
    return size > 0 ? hex(bytes, size) : "";
  }

  std::vector<place> find(std::uint64_t in_file) const {
    const Dwarf_Addr address = in_file + bias_;
    std::vector<place> found = by_debugging_information(address);
    GElf_Sym symbol;
    GElf_Off offset = 0;
    const char* const name =
        dwfl_module_addrinfo(module_, address, &offset, &symbol, nullptr, nullptr, nullptr);
    if (found.empty()) {
      if (name != nullptr) found.push_back({demangled(name), "", 0, offset});
      return found;
    }
    if (name == nullptr) return found;
    found.back().offset = offset;
    // What is local to a function has a plain name there: "operator()". The linker knows it better;
    // behind a dot it says what has become of the function, "….isra.0".
    std::string& function = found.back().function;
    const std::string_view linkage(name);
    const bool plain = linkage.starts_with("_Z") && function.find("::") == std::string::npos;
    if (function.empty() || plain) {
      function = demangled(std::string(linkage.substr(0, linkage.find('.'))).c_str());
    }
    return found;
  }

  std::string producer() const {
    Dwarf_Addr bias = 0;
    Dwarf_Die* const unit = dwfl_module_nextcu(module_, nullptr, &bias);
    Dwarf_Attribute attribute;
    if (unit == nullptr || dwarf_attr(unit, DW_AT_producer, &attribute) == nullptr) return "";
    const char* const text = dwarf_formstring(&attribute);
    return text != nullptr ? text : "";
  }

 private:
  // clang leaves no index of addresses (.debug_aranges), in which a file of both compilers has
  // g++'s units alone: then all are asked, one by one.
  Dwarf_Die* unit_of(Dwarf_Addr address, Dwarf_Addr& bias) const {
    Dwarf_Die* unit = dwfl_module_addrdie(module_, address, &bias);
    if (unit != nullptr && dwarf_haspc(unit, address - bias) == 1) return unit;
    unit = nullptr;
    do {
      unit = dwfl_module_nextcu(module_, unit, &bias);
    } while (unit != nullptr && dwarf_haspc(unit, address - bias) != 1);
    return unit;
  }

  std::vector<place> by_debugging_information(Dwarf_Addr address) const {
    std::vector<place> found;
    Dwarf_Addr bias = 0;
    Dwarf_Die* const unit = unit_of(address, bias);
    if (unit == nullptr) return found;
    place innermost;
    // Of the unit: dwfl_module_getsrc() knows no other way to it than the index.
    if (Dwarf_Line* const line = dwarf_getsrc_die(unit, address - bias)) {
      const char* const file = dwarf_linesrc(line, nullptr, nullptr);
      if (file != nullptr && dwarf_lineno(line, &innermost.line) == 0) innermost.file = file;
    }
    std::vector<Dwarf_Die> scopes;
    if (!find_code(unit, address - bias, false, scopes)) {
      find_code(unit, address - bias, true, scopes);
    }
    place next = innermost;
    for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope) {
      next.function = name_of(&*scope);
      found.push_back(next);
      if (dwarf_tag(&*scope) == DW_TAG_subprogram) break;
      next = place{};
      call_site(unit, &*scope, next);
    }
    if (found.empty() && !innermost.file.empty()) found.push_back(innermost);
    return found;
  }

  Dwfl* dwfl_;
  Dwfl_Module* module_ = nullptr;
  GElf_Addr bias_ = 0;
};

symbols::symbols() = default;
symbols::~symbols() = default;

file_symbols* symbols::open(const std::string& path, const std::string& build_id) {
  const auto [at, fresh] = files_.try_emplace(path + '\t' + build_id);
  if (!fresh) return at->second.get();
  std::vector<std::string> places{path};
  if (build_id.size() > 2) {
    places.push_back("/usr/lib/debug/.build-id/" + build_id.substr(0, 2) + '/' +
                     build_id.substr(2) + ".debug");
  }
  for (const std::string& each : places) {
    auto file = std::make_unique<file_symbols>(each);
    if (!*file || (build_id != "-" && file->build_id() != build_id)) continue;
    at->second = std::move(file);
    break;
  }
  return at->second.get();
}

std::vector<place> symbols::find(const std::string& path, const std::string& build_id,
                                 std::uint64_t address) {
  const file_symbols* const file = open(path, build_id);
  return file != nullptr ? file->find(address) : std::vector<place>{};
}

std::string symbols::producer(const std::string& path, const std::string& build_id) {
  const file_symbols* const file = open(path, build_id);
  return file != nullptr ? file->producer() : "";
}

std::string without_parameters(const std::string& name) {
  const std::size_t end = name.rfind(')');
  if (end == std::string::npos) return name;
  for (std::size_t i = end + 1; i < name.size(); ++i) {
    const char c = name[i];
    if ((c < 'a' || c > 'z') && c != ' ' && c != '&') return name;
  }
  int depth = 0;
  for (std::size_t at = end + 1; at-- > 0;) {
    if (name[at] == ')') ++depth;
    if (name[at] != '(' || --depth != 0) continue;
    const bool is_operator = at >= 8 && name.compare(at - 8, 8, "operator") == 0;
    return at == 0 || is_operator ? name : name.substr(0, at);
  }
  return name;
}

}  // namespace sigrun::symbolize
