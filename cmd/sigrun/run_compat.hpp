// SPDX-License-Identifier: Apache-2.0
//
// The runner under other names: same options, environment variables, defaults, messages and exit
// codes as tini 0.19 and dumb-init 1.2.5, so that it can replace them in an image.
#pragma once

namespace sigrun::cmd {

int tini_main(int argc, char** argv);
int dumb_init_main(int argc, char** argv);

}  // namespace sigrun::cmd
