#include "bindings/library/errors.h"

#include <exception>

#include "specbranch/base/errors.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

void set_error(const char* name, const Error& error) {
  const py::object type = py::module_::import("specbranch_cpp.errors").attr(name);
  // A message may quote a path or a token, which need not be UTF-8.
  PyErr_SetObject(type.ptr(), readable(error.what()).ptr());
}

void translate(std::exception_ptr pointer) {
  if (!pointer) return;
  try {
    std::rethrow_exception(std::move(pointer));
  } catch (const InvalidArgument& error) {
    set_error("InvalidArgument", error);
  } catch (const ModelLoadError& error) {
    set_error("ModelLoadError", error);
  } catch (const IncompatibleModels& error) {
    set_error("IncompatibleModels", error);
  } catch (const ContextOverflow& error) {
    set_error("ContextOverflow", error);
  } catch (const DecodeError& error) {
    set_error("DecodeError", error);
  } catch (const EngineClosed& error) {
    set_error("EngineClosed", error);
  } catch (const Error& error) {
    set_error("SpecBranchError", error);
  }
}

}  // namespace

py::str readable(const std::string& text) {
  PyObject* const decoded =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace");
  if (decoded == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

void register_errors(py::module_& /*m*/) { py::register_local_exception_translator(&translate); }

}  // namespace specbranch::bindings
