// Writes the certificates of test_certificates.h into the folder given.

#include <cstdio>

#include "tests/support/test_certificates.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_test_certificates FOLDER\n");
    return 2;
  }
  vitower::WriteTestCertificates(argv[1]);
  return 0;
}
