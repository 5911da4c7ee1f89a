# vitower_torch_cuda: the CUDA half of libtorch, cuBLASLt and the CUDA runtime, as the wheels bring them; and the nvcc
# settings for our own kernels. The toolkit is needed for nvcc alone.

if(NOT CMAKE_CUDA_ARCHITECTURES)
  # Machine code from Ampere to Blackwell; what is newer compiles the last one's PTX when it starts.
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90-real 100-real 120)
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # one runtime in the process: the shared one that libtorch uses
enable_language(CUDA)

foreach(library torch_cuda c10_cuda)
  if(NOT EXISTS ${_torch_lib_dir}/lib${library}.so)
    message(FATAL_ERROR "VITOWER_WITH_CUDA is ON, and ${_torch_dir} (${_torch_version}) has no lib${library}.so: point "
                        "VITOWER_TORCH_ROOT at a CUDA build of torch.")
  endif()
endforeach()
find_path(VITOWER_CUBLASLT_INCLUDE cublasLt.h HINTS ${_torch_dir}/../nvidia/cu13/include ${_torch_dir}/../nvidia/cublas/include
          ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} REQUIRED)
file(GLOB _cuda_lib_dirs ${_torch_dir}/../nvidia/*/lib)
find_library(VITOWER_CUBLASLT NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12
             HINTS ${_cuda_lib_dirs} ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES} REQUIRED)
find_library(VITOWER_CUDART NAMES libcudart.so.13 libcudart.so.12 cudart
             HINTS ${_cuda_lib_dirs} ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES} REQUIRED)

add_library(vitower_torch_cuda INTERFACE)
target_include_directories(vitower_torch_cuda SYSTEM INTERFACE ${VITOWER_CUBLASLT_INCLUDE}
                                                               ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
target_link_libraries(vitower_torch_cuda INTERFACE ${_torch_lib_dir}/libtorch_cuda.so ${_torch_lib_dir}/libc10_cuda.so
                                                   ${VITOWER_CUBLASLT} ${VITOWER_CUDART})
# libtorch's CUDA operators register themselves when the library is loaded; nothing refers to it by name.
target_link_options(vitower_torch_cuda INTERFACE LINKER:--no-as-needed)
message(STATUS "CUDA: ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}, ${VITOWER_CUBLASLT}, architectures "
               "${CMAKE_CUDA_ARCHITECTURES}")
