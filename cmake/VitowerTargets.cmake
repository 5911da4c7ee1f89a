# What every target of the project shares: warnings, sanitizers, and one way to declare a library of a folder.

add_library(vitower_options INTERFACE)
target_compile_options(vitower_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor)
# Without it g++ inlines no public function of position-independent code, not even within a file: the mean of a clip's
# rows took seven times as long.
target_compile_options(vitower_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fno-semantic-interposition>)
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
# HEADERS are the folder's public face. Every header must compile alone: HEADERS with what the library hands on (target
# all_verify_interface_header_sets), PRIVATE_HEADERS with what it links itself (target verify_private_headers).
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
  foreach(header IN LISTS ARG_PRIVATE_HEADERS)
    set(alone ${CMAKE_CURRENT_BINARY_DIR}/private_headers/${header}.cc)
    file(CONFIGURE OUTPUT ${alone} CONTENT "#include \"${CMAKE_CURRENT_SOURCE_DIR}/${header}\"\n")
    list(APPEND alone_sources ${alone})
  endforeach()
  if(alone_sources)
    add_library(${name}_private_headers OBJECT EXCLUDE_FROM_ALL ${alone_sources})
    set_target_properties(${name}_private_headers PROPERTIES UNITY_BUILD OFF)
    target_include_directories(${name}_private_headers PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(${name}_private_headers PRIVATE $<TARGET_PROPERTY:${name},LINK_LIBRARIES>)
    add_dependencies(verify_private_headers ${name}_private_headers)
  endif()
endfunction()
add_custom_target(verify_private_headers)

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
