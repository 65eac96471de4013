# cmake --install puts the library where find_package(sigrun) finds it. A program links
# sigrun::core; the modules behind it are exported because they are separate archives, not for use
# by name. Their private headers are not installed.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

get_property(sigrun_modules GLOBAL PROPERTY SIGRUN_MODULES)
set_target_properties(sigrun_core PROPERTIES EXPORT_NAME core)
set_target_properties(sigrun_non_call_exceptions PROPERTIES EXPORT_NAME non_call_exceptions)
set(sigrun_products sigrun_core sigrun_non_call_exceptions)
if(TARGET sigrun_kit)
  set_target_properties(sigrun_kit PROPERTIES EXPORT_NAME service)
  list(APPEND sigrun_products sigrun_kit)
endif()
install(TARGETS ${sigrun_products} sigrun_flags sigrun_warnings sigrun_zone_flags ${sigrun_modules}
  EXPORT sigrun_targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(DIRECTORY include/sigrun DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT library)
install(EXPORT sigrun_targets NAMESPACE sigrun:: FILE sigrun_targets.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/sigrun COMPONENT library)

configure_package_config_file(cmake/sigrun-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/sigrun-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/sigrun)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/sigrun-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sigrun-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/sigrun-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/sigrun COMPONENT library)

if(TARGET sigrun)
  install(TARGETS sigrun RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT command)
  install(FILES docs/man/sigrun.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT command)
endif()
