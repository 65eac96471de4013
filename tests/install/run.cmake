# cmake -DWAY=find_package|add_subdirectory -DSOURCE=... -DBINARY=... -DOUT=... -P run.cmake
# Builds the consumer as a stranger would, from an empty directory, and runs it.
function(step)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN}\nended with ${result}:\n${out}")
  endif()
  set(output "${out}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${OUT})
if(WAY STREQUAL "find_package")
  step(${CMAKE_COMMAND} --install ${BINARY} --prefix ${OUT}/prefix --component library)
  # The private headers stay at home.
  file(GLOB installed RELATIVE ${OUT}/prefix/include ${OUT}/prefix/include/*)
  if(NOT installed STREQUAL "sigrun")
    message(FATAL_ERROR "installed headers: ${installed}")
  endif()
  # What was exported must not lead back into the tree it was built from.
  file(GLOB exported ${OUT}/prefix/lib/cmake/sigrun/*.cmake
    ${OUT}/prefix/lib/*/cmake/sigrun/*.cmake)
  if(NOT exported)
    message(FATAL_ERROR "no CMake package was installed")
  endif()
  foreach(file IN LISTS exported)
    file(READ ${file} text)
    string(FIND "${text}" "${SOURCE}/" leak)
    if(NOT leak EQUAL -1)
      message(FATAL_ERROR "${file} names ${SOURCE}")
    endif()
  endforeach()
endif()

# As a subdirectory the whole library is compiled again, by somebody who debugs: a third sooner.
set(type Release)
if(WAY STREQUAL "add_subdirectory")
  set(type "")
endif()
step(${CMAKE_COMMAND} -S ${SOURCE}/tests/install/${WAY} -B ${OUT}/build -G Ninja
  -DCMAKE_BUILD_TYPE=${type} -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_PREFIX_PATH=${OUT}/prefix
  -DSIGRUN_SOURCE_DIR=${SOURCE})
step(${CMAKE_COMMAND} --build ${OUT}/build --target consumer)
step(${OUT}/build/consumer)
message("${output}")
if(NOT output MATCHES "received SIGUSR1")
  message(FATAL_ERROR "the consumer said: ${output}")
endif()
