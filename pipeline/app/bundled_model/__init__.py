"""Making the bundled cropper again from folders of photographs, in one command."""
