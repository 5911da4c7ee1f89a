# vitower_torch: libtorch as it comes in the PyPI wheel, CPU or CUDA build.
# torch's own TorchConfig.cmake is not used: a CUDA build of torch makes it stop where the CUDA toolkit is not installed,
# and its include folder must never reach targets that include protobuf, gRPC or spdlog (it carries its own copies).

file(GLOB_RECURSE _torch_libs FOLLOW_SYMLINKS "${VITOWER_TORCH_ROOT}/*/libtorch_cpu.so" "${VITOWER_TORCH_ROOT}/libtorch_cpu.so")
list(LENGTH _torch_libs _torch_count)
if(NOT _torch_count EQUAL 1)
  message(FATAL_ERROR
    "Found ${_torch_count} copies of libtorch_cpu.so below VITOWER_TORCH_ROOT=${VITOWER_TORCH_ROOT} (one is needed). "
    "Run scripts/install.sh, or point VITOWER_TORCH_ROOT at the folder of an installed torch package.")
endif()
get_filename_component(_torch_lib_dir "${_torch_libs}" DIRECTORY)
get_filename_component(_torch_dir "${_torch_lib_dir}" DIRECTORY)

add_library(vitower_torch INTERFACE)
target_include_directories(vitower_torch SYSTEM INTERFACE ${_torch_dir}/include
                                                          ${_torch_dir}/include/torch/csrc/api/include)
target_link_libraries(vitower_torch INTERFACE ${_torch_lib_dir}/libtorch_cpu.so ${_torch_lib_dir}/libc10.so Threads::Threads)
# A CUDA build's libtorch_cpu.so needs libraries of the nvidia-* wheels, which its own RUNPATH finds at run time; the
# linker is not asked to find them again.
target_link_options(vitower_torch INTERFACE LINKER:--allow-shlib-undefined)
file(STRINGS ${_torch_dir}/version.py _torch_version REGEX "^__version__")
message(STATUS "libtorch: ${_torch_dir} (${_torch_version})")
