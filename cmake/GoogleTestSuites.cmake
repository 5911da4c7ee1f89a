# gtest_discover_suites(PROGRAM LABEL): gtest_discover_tests of CMake's GoogleTest, with one ctest entry for each suite.
# The list is written when the program has been built, by this file run as a script.
if(CMAKE_SCRIPT_MODE_FILE)
  execute_process(COMMAND ${PROGRAM} --gtest_list_tests OUTPUT_VARIABLE listing TIMEOUT 60 COMMAND_ERROR_IS_FATAL ANY)
  # Suites are the lines of one word with a dot behind, and perhaps a comment.
  string(REGEX MATCHALL "\n[^ \n]+\\.[ \n]" suites "\n${listing}")
  list(TRANSFORM suites REPLACE "[\n. ]" "")
  set(entries "")
  foreach(suite IN LISTS suites)
    string(APPEND entries "add_test([[${suite}]] [[${PROGRAM}]] [[--gtest_filter=${suite}.*]])\n"
                          "set_tests_properties([[${suite}]] PROPERTIES LABELS ${LABEL} TIMEOUT 300)\n")
  endforeach()
  file(WRITE ${LIST} "${entries}")
  return()
endif()

function(gtest_discover_suites program label)
  set(list ${CMAKE_CURRENT_BINARY_DIR}/${program}_suites.cmake)
  add_custom_command(TARGET ${program} POST_BUILD BYPRODUCTS ${list} VERBATIM
                     COMMAND ${CMAKE_COMMAND} -D PROGRAM=$<TARGET_FILE:${program}> -D LABEL=${label} -D LIST=${list}
                             -P ${CMAKE_CURRENT_FUNCTION_LIST_FILE})
  set(include ${CMAKE_CURRENT_BINARY_DIR}/${program}_include.cmake)
  file(CONFIGURE OUTPUT ${include} @ONLY CONTENT [[
if(EXISTS "@list@")
  include("@list@")
else()
  add_test(@program@_NOT_BUILT @program@_NOT_BUILT)
endif()
]])
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${include})
endfunction()
