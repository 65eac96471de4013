# Two interface targets carry every flag: sigrun_flags for ordinary code, sigrun_zone_flags for the
# signal-safe zone (base arch sys sigsafe), which is never instrumented and never below -O1, because
# at -O0 the standard library leaves weak functions in its objects and tools/checks/sigsafe.py
# rejects those.
add_library(sigrun_flags INTERFACE)
target_compile_features(sigrun_flags INTERFACE cxx_std_20)
target_include_directories(sigrun_flags INTERFACE
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)

add_library(sigrun_warnings INTERFACE)
target_compile_options(sigrun_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor
    -Wimplicit-fallthrough $<$<BOOL:${SIGRUN_WERROR}>:-Werror>>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:Clang>>:-Wthread-safety>)

add_library(sigrun_zone_flags INTERFACE)
target_compile_options(sigrun_zone_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-stack-protector
    -ftls-model=initial-exec -fno-sanitize=all $<$<CONFIG:Debug>:-O1>>)
# What runs in handlers of a sanitized build calls none of the sanitizer's interceptors.
set(sigrun_handler_flags "")
if(SIGRUN_SANITIZE)
  set(sigrun_handler_flags -include;${CMAKE_SOURCE_DIR}/src/base/plain_memory.hpp)
  target_compile_options(sigrun_zone_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:${sigrun_handler_flags}>")
endif()

if(SIGRUN_SANITIZE)
  string(REPLACE "," ";" sigrun_sanitizers "${SIGRUN_SANITIZE}")
  add_compile_options(-fsanitize=${SIGRUN_SANITIZE} -fno-omit-frame-pointer)
  if("undefined" IN_LIST sigrun_sanitizers)
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
  add_link_options(-fsanitize=${SIGRUN_SANITIZE})
  # In the zone as well, which does not see what the program around it is built with.
  add_compile_definitions(SIGRUN_SANITIZED)
endif()
# No handler may ever run the lazy binder, in a user's program either.
target_link_options(sigrun_flags INTERFACE -Wl,-z,now)
add_link_options(-Wl,-z,now)
