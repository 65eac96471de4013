// SPDX-License-Identifier: Apache-2.0
//
// libuv: the default loop with one uv_signal_t for the measured signal and one for the end.
#include "../receiver.hpp"

#include <uv.h>

int main(int argc, char** argv) {
  bench::receiver r(argc, argv);
  uv_loop_t* loop = uv_default_loop();
  const auto on_signal = [](uv_signal_t* handle, int signo) {
    if (!static_cast<bench::receiver*>(handle->data)->on_signal(signo)) uv_stop(handle->loop);
  };
  uv_signal_t measured;
  uv_signal_t end;
  uv_signal_init(loop, &measured);
  uv_signal_init(loop, &end);
  measured.data = end.data = &r;
  uv_signal_start(&measured, on_signal, r.signo());
  uv_signal_start(&end, on_signal, bench::end_signal);
  r.ready();
  uv_run(loop, UV_RUN_DEFAULT);
}
