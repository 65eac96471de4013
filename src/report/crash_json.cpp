// SPDX-License-Identifier: Apache-2.0
//
// The report for programs; docs/crash-reports.md has the schema.
#include "base/text.hpp"
#include "report/crash_state.hpp"
#include "sigsafe/decode.hpp"
#include "sigsafe/flight_recorder.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sigrun/signal_names.hpp>

namespace sigrun::report {
namespace {

constexpr std::uint64_t flight_kept = 64;

// Where commas go.
class json {
 public:
  explicit json(sink& out) noexcept : out_(out) {}
  json& key(std::string_view name) noexcept {
    comma();
    out_.quoted(name).add(':');
    first_ = true;
    return *this;
  }
  json& open(char bracket) noexcept {
    comma();
    out_.add(bracket);
    first_ = true;
    return *this;
  }
  json& close(char bracket) noexcept {
    out_.add(bracket);
    first_ = false;
    return *this;
  }
  json& text(std::string_view value) noexcept {
    comma();
    out_.quoted(value);
    return *this;
  }
  json& number(std::int64_t value) noexcept {
    comma();
    out_.number(value);
    return *this;
  }
  json& boolean(bool value) noexcept {
    comma();
    out_.add(value ? "true" : "false");
    return *this;
  }
  /// As a string, because JSON's numbers are doubles for many readers.
  json& hex(std::uint64_t value) noexcept {
    comma();
    out_.add('"').hex(value).add('"');
    return *this;
  }
  json& bytes(const std::uint8_t* data, std::size_t size) noexcept {
    comma();
    out_.add('"').bytes(data, size).add('"');
    return *this;
  }
  json& line() noexcept {
    out_.add('\n');
    return *this;
  }

 private:
  void comma() noexcept {
    if (!first_) out_.add(',');
    first_ = false;
  }
  sink& out_;
  bool first_ = true;
};

void write_frame(json& to, const symbol::frame& at) noexcept {
  frame_lines lines;
  resolve(at, lines);
  to.line().open('{').key("pc").hex(at.pc);
  to.key("exact").boolean(at.exact);
  if (lines.image.begin != lines.image.end) {
    to.key("module").text(lines.image.name());
    to.key("offset").hex(at.pc - lines.image.bias);
  }
  to.key("symbols").open('[');
  for (std::size_t i = 0; i < lines.count; ++i) {
    const code_line& each = lines.lines[i];
    if (each.function.empty()) continue;
    to.open('{').key("function").text(each.function);
    if (!each.file.empty()) to.key("file").text(each.file).key("line").number(each.line);
    to.key("offset").hex(each.offset);
    to.key("inlined").boolean(i + 1 < lines.count).close('}');
  }
  to.close(']').close('}');
}

void write_frames(json& to, const stack_trace& trace) noexcept {
  to.key("frames").open('[');
  for (std::size_t i = 0; i < trace.count; ++i) write_frame(to, trace.frames[i]);
  to.close(']').key("more_frames").boolean(trace.more);
}

void write_one(json& to, const sched::g_view& view, const stack_trace* trace) noexcept {
  to.line().open('{').key("id").number(static_cast<std::int64_t>(view.id));
  to.key("state").text(sched::state_text(view));
  const std::int64_t age = sys::now_ns() - view.since_ns;
  to.key("age_ns").number(age > 0 ? age : 0);
  to.key("name").text(view.name);
  char room[256];
  to.key("labels").text(labels_text(view, room, sizeof room));
  to.key("locked_to_thread").boolean(view.locked);
  to.key("parent").number(static_cast<std::int64_t>(view.parent_id));
  if (view.on != nullptr) to.key("waits_on").hex(reinterpret_cast<std::uint64_t>(view.on));
  if (view.created_at != nullptr) {
    to.key("created_at");
    write_frame(to, {reinterpret_cast<std::uint64_t>(view.created_at), false});
  }
  if (trace != nullptr) write_frames(to, *trace);
  to.close('}');
}

bool keep_the_first(void* arg, const symbol::module_view& row) noexcept {
  *static_cast<symbol::module_view*>(arg) = row;
  return false;
}

void write_head(json& to, const crash_state& state, const crash_config& config) noexcept {
  timespec wall;
  sys::read_clock(CLOCK_REALTIME, wall);
  to.key("schema").number(schema_version).key("kind").text("sigrun-crash");
  to.key("time_unix_ns").number(std::int64_t{wall.tv_sec} * 1'000'000'000 + wall.tv_nsec);
  to.line().key("process").open('{').key("pid").number(config.pid);
  to.key("tid").number(state.tid).key("thread").text(state.thread_name);
  symbol::module_view self;
  symbol::for_each_module(&keep_the_first, &self);
  if (self.begin != self.end) to.key("executable").text(self.name());
  to.close('}');
  to.line().key("build").open('{').key("program").text(config.program);
  to.key("version").text(config.version).key("commit").text(config.commit);
  to.key("compiler").text(config.compiler).key("flags").text(config.flags);
  if (self.begin != self.end) to.key("build_id").bytes(self.build_id, self.build_id_size);
  to.key("sigrun_version").text(SIGRUN_VERSION).key("sigrun_commit").text(SIGRUN_COMMIT);
  to.close('}');
}

void write_reason(json& to, const crash_state& state) noexcept {
  const siginfo_t& info = state.info;
  const bool aborted = state.signo == SIGABRT;
  to.line().key("reason").text(state.note != nullptr ? "exception" : aborted ? "abort" : "signal");
  to.line().key("signal").open('{').key("number").number(state.signo);
  to.key("name").text(signal_name(state.signo)).key("code").number(info.si_code);
  to.key("code_name").text(signal_code_name(state.signo, info.si_code));
  const signal_cause cause = sigsafe::cause_of(state.signo, info.si_code);
  to.key("cause").text(to_string(cause));
  if (cause == signal_cause::fault) {
    to.key("address").hex(reinterpret_cast<std::uint64_t>(info.si_addr));
  } else if (cause == signal_cause::kill || cause == signal_cause::tkill ||
             cause == signal_cause::queue) {
    to.key("pid").number(info.si_pid).key("uid").number(info.si_uid);
  }
  to.close('}');
  if (state.note == nullptr) return;
  to.line().key("exception").open('{').key("type").text(state.note->type);
  to.key("message").text(state.note->message);
  if (state.note->thrown.count != 0) {
    to.key("thrown_at").open('{');
    write_frames(to, state.note->thrown);
    to.close('}');
  }
  to.close('}');
}

void write_stacks(json& to, const crash_state& state) noexcept {
  to.line().key("failed").open('{').key("goroutine");
  to.number(state.on.self != nullptr ? static_cast<std::int64_t>(state.on.id) : 0);
  to.key("tid").number(state.tid);
  write_frames(to, state.trace);
  to.close('}');
  to.line().key("goroutines").open('[');
  if (state.on.self != nullptr) write_one(to, state.on, &state.trace);
  for (std::size_t i = 0; i < state.goroutine_count; ++i) {
    const shown_goroutine& each = state.goroutines[i];
    write_one(to, each.view, each.traced ? &each.trace : nullptr);
  }
  to.close(']').key("goroutines_left_out");
  to.number(static_cast<std::int64_t>(state.goroutines_left_out));
  to.line().key("threads").open('[');
  for (std::size_t i = 0; i < state.thread_count; ++i) {
    const shown_thread& each = state.threads[i];
    to.line().open('{').key("tid").number(each.tid).key("name").text(each.name);
    to.key("state").text({&each.state, std::size_t{each.state != '\0'}});
    to.key("blocked").hex(each.blocked);
    if (each.traced) write_frames(to, each.trace);
    to.close('}');
  }
  to.close(']').key("threads_left_out");
  to.number(static_cast<std::int64_t>(state.threads_left_out));
}

// "VmRSS:     1234 kB" as "VmRSS": 1234.
bool write_memory_line(void* arg, std::string_view line) noexcept {
  auto& to = *static_cast<json*>(arg);
  const std::size_t colon = line.find(':');
  const bool wanted = line.substr(0, 2) == "Vm" || line.substr(0, 3) == "Rss";
  if (!wanted || colon == std::string_view::npos) return true;
  std::int64_t value = 0;
  for (std::size_t i = colon; i < line.size(); ++i) {
    if (line[i] >= '0' && line[i] <= '9') value = value * 10 + (line[i] - '0');
  }
  to.key(line.substr(0, colon)).number(value);
  return true;
}

struct map_search {
  std::uint64_t address;
  std::int64_t count = 0;
  char below[256] = {};
  char around[256] = {};
  char above[256] = {};
};

bool look_at_mapping(void* arg, std::string_view line) noexcept {
  auto& look = *static_cast<map_search*>(arg);
  ++look.count;
  std::string_view rest = line;
  const std::uint64_t begin = parse_hex(rest);
  if (!rest.empty()) rest.remove_prefix(1);
  const std::uint64_t end = parse_hex(rest);
  char* to = nullptr;
  if (end <= look.address) {
    to = look.below;
  } else if (begin <= look.address) {
    to = look.around;
  } else if (look.above[0] == '\0') {
    to = look.above;
  }
  std::size_t i = 0;
  for (; to != nullptr && i < line.size() && i + 1 < sizeof look.below; ++i) to[i] = line[i];
  if (to != nullptr) to[i] = '\0';
  return true;
}

void write_memory(json& to, const crash_state& state) noexcept {
  to.line().key("memory").open('{').key("kib").open('{');
  for_each_line("/proc/self/status", &write_memory_line, &to);
  to.close('}');
  const bool fault = sigsafe::cause_of(state.signo, state.info.si_code) == signal_cause::fault;
  map_search look{fault ? reinterpret_cast<std::uint64_t>(state.info.si_addr) : 0};
  for_each_line("/proc/self/maps", &look_at_mapping, &look);
  to.key("mappings").number(look.count);
  if (fault) {
    to.key("below").text(look.below).key("around").text(look.around);
    to.key("above").text(look.above);
  }
  to.close('}');
}

bool write_module(void* arg, const symbol::module_view& row) noexcept {
  auto& to = *static_cast<json*>(arg);
  to.line().open('{').key("path").text(row.name());
  to.key("build_id").bytes(row.build_id, row.build_id_size);
  to.key("bias").hex(row.bias).key("begin").hex(row.begin).key("end").hex(row.end);
  to.close('}');
  return true;
}

void write_tail(json& to, const crash_state& state) noexcept {
  to.line().key("registers").open('{');
  for (std::size_t i = 0;; ++i) {
    const named_register each = register_at(*state.context, i);
    if (each.name == nullptr) break;
    to.key(each.name).hex(each.value);
  }
  to.close('}');
  write_memory(to, state);
  to.line().key("modules").open('[');
  symbol::for_each_module(&write_module, &to);
  to.close(']').line().key("signals").open('[');
  const sigsafe::flight_recorder& recorder = sigsafe::the_flight_recorder();
  const std::uint64_t newest = recorder.newest();
  for (std::uint64_t s = newest > flight_kept ? newest - flight_kept + 1 : 1; s <= newest; ++s) {
    sigsafe::flight_record one;
    if (!recorder.read(s, one)) continue;
    to.line().open('{').key("sequence").number(static_cast<std::int64_t>(one.sequence));
    to.key("name").text(signal_name(one.signo)).key("code").number(one.code);
    to.key("pid").number(one.pid).key("uid").number(one.uid).key("count").number(one.count);
    to.key("subscribers").number(one.subscribers);
    to.key("taken_ns").number(one.at.taken).key("dispatched_ns").number(one.at.dispatched);
    to.key("received_ns").number(one.at.received).close('}');
  }
  to.close(']');
}

void make_name(crash_state& state, const crash_config& config) noexcept {
  timespec wall;
  sys::read_clock(CLOCK_REALTIME, wall);
  base::text_buffer<64> text;
  text.add("crash-").add(std::int64_t{wall.tv_sec}).add("-").add(config.pid).add(".json");
  std::size_t i = 0;
  for (const char c : text.view()) state.file_name[i++] = c;
  state.file_name[i] = '\0';
}

}  // namespace

void write_crash_file(crash_state& state, const crash_config& config) noexcept {
  make_name(state, config);
  base::text_buffer<64> part;
  part.add(".").add(state.file_name).add(".part").add({"\0", 1});
  const char* const part_name = part.view().data();
  const int in = config.directory_fd;
  long fd = sys::call(SYS_openat, in, part_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (!sys::failed(fd) && fd <= config.text_fd) {
    // The text's descriptor may be closed: then this must not be it.
    const long above = sys::call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, config.text_fd + 1);
    if (!sys::failed(above)) {
      sys::close(static_cast<int>(fd));
      fd = above;
    }
  }
  text_target text(state, config);
  sink& say = text.out;
  fd_target target;
  target.fd = static_cast<int>(fd);
  target.patience_ns = state.plan.file_ns;
  target.limit = config.file_max;
  if (!sys::failed(fd)) {
    sink out(&fd_target::write, &target);
    json to(out);
    to.open('{');
    write_head(to, state, config);
    write_reason(to, state);
    write_stacks(to, state);
    write_tail(to, state);
    to.line().key("took_ns").number(sys::now_ns() - state.begun_ns);
    to.line().key("complete").boolean(true).close('}').line();
  }
  const bool whole = !sys::failed(fd) && target.lost == 0;
  if (whole && !sys::failed(sys::call(SYS_renameat2, in, part_name, in, state.file_name, 0))) {
    say.add("\nsigrun: report in ").add(config.directory).add('/').add(state.file_name).add('\n');
    return;
  }
  if (!sys::failed(fd)) sys::call(SYS_unlinkat, in, part_name, 0);
  say.add("\nsigrun: no report in ").add(config.directory).add(": error ");
  say.number(sys::failed(fd) ? -fd : target.error).add('\n');
}

named_register register_at(const ucontext_t& context, std::size_t i) noexcept {
#if defined(__x86_64__)
  static constexpr struct {
    const char* name;
    int index;
  } names[] = {{"rax", REG_RAX}, {"rbx", REG_RBX},    {"rcx", REG_RCX}, {"rdx", REG_RDX},
               {"rsi", REG_RSI}, {"rdi", REG_RDI},    {"rbp", REG_RBP}, {"rsp", REG_RSP},
               {"r8", REG_R8},   {"r9", REG_R9},      {"r10", REG_R10}, {"r11", REG_R11},
               {"r12", REG_R12}, {"r13", REG_R13},    {"r14", REG_R14}, {"r15", REG_R15},
               {"rip", REG_RIP}, {"eflags", REG_EFL}, {"err", REG_ERR}, {"trapno", REG_TRAPNO},
               {"cr2", REG_CR2}};
  if (i >= sizeof names / sizeof names[0]) return {nullptr, 0};
  return {names[i].name, static_cast<std::uint64_t>(context.uc_mcontext.gregs[names[i].index])};
#else
  static constexpr const char* names[] = {"x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",
                                          "x8",  "x9",  "x10", "x11", "x12", "x13", "x14", "x15",
                                          "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23",
                                          "x24", "x25", "x26", "x27", "x28", "x29", "x30"};
  const auto& m = context.uc_mcontext;
  if (i < 31) return {names[i], m.regs[i]};
  if (i == 31) return {"sp", m.sp};
  if (i == 32) return {"pc", m.pc};
  if (i == 33) return {"pstate", m.pstate};
  return {nullptr, 0};
#endif
}

}  // namespace sigrun::report
