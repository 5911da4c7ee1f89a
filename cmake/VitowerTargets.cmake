# What every target of the project shares: warnings, sanitizers, and one way to declare a library of a folder.

add_library(vitower_options INTERFACE)
target_compile_options(vitower_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor)
if(VITOWER_WARNINGS_AS_ERRORS)
  target_compile_options(vitower_options INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(vitower_options INTERFACE -Wthread-safety -Werror=thread-safety)
endif()
if(VITOWER_SANITIZE)
  target_compile_options(vitower_options INTERFACE -fsanitize=${VITOWER_SANITIZE} -fno-omit-frame-pointer
                                                   -fno-sanitize-recover=all)
  target_link_options(vitower_options INTERFACE -fsanitize=${VITOWER_SANITIZE})
endif()

# clang-tidy runs on what is shipped (vitower_library, vitower_program), not on tests and generated code.
option(VITOWER_CLANG_TIDY "Run clang-tidy on the sources of the project" OFF)
if(VITOWER_CLANG_TIDY)
  find_program(VITOWER_CLANG_TIDY_PROGRAM NAMES clang-tidy clang-tidy-19 clang-tidy-18 clang-tidy-14 REQUIRED)
endif()

# vitower_library(NAME [SHARED] HEADERS a.h ... [PRIVATE_HEADERS b.h ...] SOURCES a.cc ...)
# HEADERS are the folder's public face: each must compile alone (target all_verify_interface_header_sets).
function(vitower_library name)
  cmake_parse_arguments(ARG "SHARED" "" "HEADERS;PRIVATE_HEADERS;SOURCES" ${ARGN})
  if(ARG_SHARED)
    add_library(${name} SHARED)
  else()
    add_library(${name} STATIC)
  endif()
  target_sources(${name} PRIVATE ${ARG_SOURCES} ${ARG_PRIVATE_HEADERS}
                         PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${ARG_HEADERS})
  vitower_target(${name})
endfunction()

# vitower_program(NAME SOURCES a.cc ...)
function(vitower_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  vitower_target(${name})
endfunction()

function(vitower_target name)
  target_link_libraries(${name} PRIVATE vitower_options)
  if(VITOWER_CLANG_TIDY)
    set_target_properties(${name} PROPERTIES CXX_CLANG_TIDY "${VITOWER_CLANG_TIDY_PROGRAM};--quiet")
  endif()
endfunction()
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON)
